// Whether there is a way to a destination that a call names: what is asked of the daemon, what is
// believed, and for how long.
#include "datagram_bed.h"

namespace loom::vcl {
namespace {

using test::FakeDaemon;

// --- What is remembered

struct Ways : testing::Test {
  static WayKey to(uint8_t third, uint8_t last) {
    WayKey k;
    k.to.is_ip4 = 1;
    const uint8_t ip[4] = {192, 0, third, last};
    std::memcpy(k.to.ip, ip, sizeof ip);
    return k;
  }
  int find(const WayKey& k, uint32_t news = 0) {
    return known.find(k, news, [this] {
      ++n_clocks;
      return now;
    });
  }
  KnownWays known;
  TimeNs now = 5 * kSecond;
  int n_clocks = 0;
};

TEST_F(Ways, ThatThereIsOneHoldsForAllThatBeginAlikeWithoutAClock) {
  EXPECT_EQ(find(to(2, 1)), KnownWays::kUnknown);
  known.learn(to(2, 1), 24, 0, now);
  now += 3600 * kSecond;
  EXPECT_EQ(find(to(2, 200)), 0);
  EXPECT_EQ(find(to(3, 1)), KnownWays::kUnknown);
  known.learn(to(4, 0xf0), 28, 0, now);
  EXPECT_EQ(find(to(4, 0xff)), 0);
  EXPECT_EQ(find(to(4, 0xef)), KnownWays::kUnknown);
  WayKey other = to(2, 1);
  other.interface = 1;
  EXPECT_EQ(find(other), KnownWays::kUnknown);
  other = to(2, 1);
  other.source.ip[0] = 10;
  EXPECT_EQ(find(other), KnownWays::kUnknown);
  other = to(2, 1);
  other.to.is_ip4 = 0;
  EXPECT_EQ(find(other), KnownWays::kUnknown);
  known.learn(to(9, 9), 0, 0, now);  // a default route
  EXPECT_EQ(find(to(3, 1)), 0);
  EXPECT_EQ(n_clocks, 0);
}

TEST_F(Ways, ThatThereIsNoneHoldsForThatAddressAndASecond) {
  known.learn(to(2, 1), 0, -ENETUNREACH, now);
  EXPECT_EQ(find(to(2, 1)), -ENETUNREACH);
  EXPECT_EQ(find(to(2, 2)), KnownWays::kUnknown);
  known.learn(to(2, 2), 0, 0, now);  // everywhere, but for that one
  EXPECT_EQ(find(to(2, 1)), -ENETUNREACH);
  now += kSecond;
  EXPECT_EQ(find(to(2, 1)), 0);
}

TEST_F(Ways, WhatWasDroppedForWantOfARouteIsNewsOfAllThatThereAre) {
  known.learn(to(2, 1), 24, 0, now);
  known.learn(to(3, 1), 24, -ENETUNREACH, now);
  EXPECT_EQ(find(to(2, 1), 1), KnownWays::kUnknown);
  EXPECT_EQ(find(to(3, 1), 1), -ENETUNREACH);
  known.learn(to(2, 1), 24, 0, now);
  EXPECT_EQ(find(to(2, 1), 1), 0);
}

TEST_F(Ways, TheSameAddressTakesOnePlaceAndTheOldestMakesRoom) {
  for (uint32_t i = 0; i < 2 * KnownWays::kPlaces; ++i)
    known.learn(to(2, 1), 0, -ENETUNREACH, now += kSecond);
  for (uint8_t i = 1; i < KnownWays::kPlaces; ++i) known.learn(to(i, 9), 24, 0, now);
  for (uint8_t i = 1; i < KnownWays::kPlaces; ++i) EXPECT_EQ(find(to(i, 7)), 0);
  EXPECT_EQ(find(to(2, 1)), -ENETUNREACH);
  known.learn(to(100, 1), 24, 0, now);
  EXPECT_EQ(find(to(100, 2)), 0);
  EXPECT_EQ(find(to(2, 1)), 0);  // of 192.0.2/24 it is known still
}

TEST_F(Ways, OnlySoMuchIsAskedInASecond) {
  for (uint32_t i = 0; i < KnownWays::kMostQuestions; ++i) EXPECT_TRUE(known.may_ask(now));
  EXPECT_FALSE(known.may_ask(now + kSecond - 1));
  EXPECT_TRUE(known.may_ask(now + kSecond));
}

// --- A session of a daemon

struct DatagramWays : test_bed::Datagrams {
  // There are ways to 192.0.2.0/24, but for 192.0.2.1.
  void SetUp() override {
    Datagrams::SetUp();
    daemon->answer_paths([](const svm::PathEvent& p, svm::InfoEvent& info) {
      constexpr uint8_t kNet[3] = {192, 0, 2}, kOwn[4] = {10, 0, 0, 1};
      const bool is_there = std::memcmp(p.remote.ip, kNet, 3) == 0 && p.remote.ip[3] != 1;
      Status s = is_there ? Status::kOk : Status::kUnreachable;
      if (p.interface > 2) s = Status::kNotFound;
      if (p.source.ip[0] != 0 && std::memcmp(p.source.ip, kOwn, 4) != 0) s = Status::kInvalid;
      info.status = static_cast<int32_t>(s);
      info.pmtu = is_there ? 1500 : 0;
      info.path_bits = 24;
    });
  }
  static svm::Endpoint at(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return {.is_ip4 = 1, .reserved = 0, .port = htons(9), .ip = {a, b, c, d}};
  }
  ssize_t send_to(const svm::Endpoint& to) { return send("x", {.to = &to}); }
  uint64_t asked() { return daemon->events(svm::ToDaemon::kGetPath); }
};

TEST_F(DatagramWays, OneQuestionForAllThatBeginAlike) {
  bind();
  for (uint8_t i = 2; i < 200; ++i) ASSERT_EQ(send_to(at(192, 0, 2, i)), 1);
  EXPECT_EQ(asked(), 1u);
  EXPECT_EQ(send_to(at(203, 0, 113, 1)), -ENETUNREACH);
  EXPECT_EQ(asked(), 2u);
  EXPECT_EQ(sent(198).size(), 198u);
  EXPECT_EQ(daemon->sent(0), "");  // and no more
}

TEST_F(DatagramWays, OfSeveralThoseInFrontOfOneWithoutAWayAreSent) {
  bind();
  const svm::Endpoint good = at(192, 0, 2, 9), bad = at(203, 0, 113, 1);
  char byte = 'x';
  const iovec v{&byte, 1};
  DatagramSend all[] = {
      {{&v, 1}, {.to = &good}}, {{&v, 1}, {.to = &bad}}, {{&v, 1}, {.to = &good}}};
  EXPECT_EQ(s->send_datagrams(all, 0), 1);
  EXPECT_EQ(s->send_datagrams(std::span(all).subspan(1), 0), -ENETUNREACH);
  EXPECT_EQ(sent(1).size(), 1u);
}

TEST_F(DatagramWays, NewsOfADroppedOneIsAskedAbout) {
  bind();
  EXPECT_EQ(send_to(at(192, 0, 2, 2)), 1);
  EXPECT_EQ(send_to(at(192, 0, 2, 1)), 1);  // as it begins alike
  daemon->add_unreachable(0);
  EXPECT_EQ(send_to(at(192, 0, 2, 1)), -ENETUNREACH);
  EXPECT_EQ(send_to(at(192, 0, 2, 2)), 1);
  EXPECT_EQ(asked(), 3u);
}

TEST_F(DatagramWays, ThePeerIsNotAskedAbout) {
  ASSERT_EQ(s->connect(at(192, 0, 2, 9)), 0);
  EXPECT_EQ(send("x"), 1);
  EXPECT_EQ(asked(), 0u);
  EXPECT_EQ(send("x", {.interface = 3}), -ENODEV);
  EXPECT_EQ(asked(), 1u);
}

TEST_F(DatagramWays, SourcesAndInterfacesAreAskedAboutToo) {
  bind();
  const svm::Endpoint to = at(192, 0, 2, 9), own = at(10, 0, 0, 1), other = at(10, 0, 0, 2),
                      loopback = at(127, 0, 0, 1), group = at(239, 0, 0, 1);
  EXPECT_EQ(send("x", {.to = &to, .source = &own}), 1);
  EXPECT_EQ(send("x", {.to = &to, .source = &other}), -ENETUNREACH);
  EXPECT_EQ(send("x", {.to = &to, .source = &loopback}), -EINVAL);
  EXPECT_EQ(send("x", {.to = &to, .source = &group}), -EINVAL);
  EXPECT_EQ(send("x", {.to = &to, .interface = 2}), 1);
  EXPECT_EQ(send("x", {.to = &to, .interface = 3}), -ENODEV);
}

TEST_F(DatagramWays, WhoAsksTooMuchIsTakenToHaveAWay) {
  bind();
  int n_refused = 0;
  const TimeNs from = sys::now();
  for (int i = 0; i < 200; ++i)
    n_refused += send_to(at(203, 0, static_cast<uint8_t>(i), 1)) == -ENETUNREACH;
  const auto seconds = static_cast<uint64_t>((sys::now() - from) / kSecond + 2);
  EXPECT_GE(n_refused, 1);
  EXPECT_LE(asked(), seconds * KnownWays::kMostQuestions);
}

}  // namespace
}  // namespace loom::vcl
