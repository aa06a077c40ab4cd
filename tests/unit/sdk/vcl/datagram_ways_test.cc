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
  uint32_t ask_all() {
    uint32_t n = 0;
    for (; known.may_ask(now); ++n) known.count();
    return n;
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

TEST_F(Ways, ThatThereIsNoneHoldsForThatAddressAndAShortTime) {
  known.learn(to(2, 1), 0, -ENETUNREACH, now);
  EXPECT_EQ(find(to(2, 1)), -ENETUNREACH);
  EXPECT_EQ(find(to(2, 2)), KnownWays::kUnknown);
  known.learn(to(2, 2), 0, 0, now);  // everywhere, but for that one
  EXPECT_EQ(find(to(2, 1)), -ENETUNREACH);
  now += KnownWays::kNoneFor - 1;
  EXPECT_EQ(find(to(2, 1)), -ENETUNREACH);
  now += 1;
  EXPECT_EQ(find(to(2, 1)), 0);
}

TEST_F(Ways, OfASocketWithAnInterfaceOfItsOwnHoldWhileItHasThat) {
  WayKey k = to(2, 1);
  k.bound = 3;
  known.learn(k, 0, 0, now);
  EXPECT_EQ(find(k), 0);
  EXPECT_EQ(find(to(2, 1)), KnownWays::kUnknown);
}

TEST_F(Ways, WhatWasDroppedForWantOfARouteIsNewsOfAllThatThereAre) {
  known.learn(to(2, 1), 24, 0, now);
  known.learn(to(3, 1), 24, -ENETUNREACH, now);
  EXPECT_EQ(find(to(2, 1), 1), KnownWays::kUnknown);
  EXPECT_EQ(find(to(3, 1), 1), -ENETUNREACH);
  known.learn(to(2, 1), 24, 0, now);
  EXPECT_EQ(find(to(2, 1), 1), 0);
}

TEST_F(Ways, OfManyDroppedOnesNewsCountOnceInASecond) {
  known.learn(to(2, 1), 24, 0, now);
  EXPECT_EQ(find(to(2, 1), 1), KnownWays::kUnknown);
  for (uint32_t news = 2; news < 100; ++news) {
    known.learn(to(2, 1), 24, 0, now);
    EXPECT_EQ(find(to(2, 1), news), 0);
  }
  now += kSecond;  // they are not forgotten
  EXPECT_EQ(find(to(2, 1), 99), KnownWays::kUnknown);
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
  EXPECT_EQ(ask_all(), KnownWays::kMostQuestions);
  now += kSecond - 1;
  EXPECT_FALSE(known.may_ask(now));
  now += 1;
  EXPECT_TRUE(known.may_ask(now));
  EXPECT_TRUE(known.may_ask(now)) << "who only looks pays nothing";
}

TEST_F(Ways, ThoseAskedInVainAreFewerAndFewer) {
  for (uint32_t most = KnownWays::kMostQuestions; most > 1; most /= 2, now += kSecond)
    EXPECT_EQ(ask_all(), most);
  EXPECT_EQ(ask_all(), 1u);
  now += kSecond;
  EXPECT_EQ(ask_all(), 1u);
  known.learn(to(2, 1), 0, -ENETUNREACH, now);  // they are of use again
  EXPECT_EQ(ask_all(), 1u) << "one more";
  now += kSecond;
  EXPECT_EQ(ask_all(), 2u);
  for (int i = 0; i < 20; ++i) known.learn(to(2, 1), 0, -ENETUNREACH, now);
  now += kSecond;
  EXPECT_EQ(ask_all(), KnownWays::kMostQuestions);
}

TEST_F(Ways, WithoutAnAnswerNoMoreIsAskedInThatSecond) {
  EXPECT_TRUE(known.may_ask(now));
  known.count();
  known.count_vain();
  EXPECT_FALSE(known.may_ask(now));
  now += kSecond;
  EXPECT_TRUE(known.may_ask(now));
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

TEST_F(DatagramWays, WithADefaultRouteNothingIsAsked) {
  daemon->set_everywhere(2);
  bind();
  EXPECT_EQ(send_to(at(192, 0, 2, 9)), 1);
  EXPECT_EQ(send_to(at(203, 0, 113, 1)), 1);
  EXPECT_EQ(asked(), 0u);
  const svm::Endpoint to = at(192, 0, 2, 9), own = at(10, 0, 0, 1);
  EXPECT_EQ(send("x", {.to = &to, .source = &own}), 1);
  EXPECT_EQ(asked(), 1u);
  EXPECT_EQ(send("x", {.to = &to, .interface = 3}), -ENODEV);
  EXPECT_EQ(asked(), 2u);
  s->change_options([](svm::SocketOptions& o) { o.interface = 1; });
  EXPECT_EQ(send_to(to), 1);
  EXPECT_EQ(asked(), 3u) << "bound to a link";
  s->change_options([](svm::SocketOptions& o) { o.interface = 0; });
  EXPECT_EQ(send_to(to), 1);
  EXPECT_EQ(asked(), 3u);
  daemon->add_unreachable(0);
  EXPECT_EQ(send_to(at(203, 0, 113, 1)), -ENETUNREACH) << "it is no more";
}

TEST_F(DatagramWays, ADefaultRouteOfTheOtherFamilySaysNothing) {
  daemon->set_everywhere(1);
  bind();
  EXPECT_EQ(send_to(at(203, 0, 113, 1)), -ENETUNREACH);
}

TEST_F(DatagramWays, ADaemonThatSaysNothingHoldsNobodyUp) {
  daemon->silence_paths();
  bind();
  for (uint8_t i = 1; i < 100; ++i) ASSERT_EQ(send_to(at(203, 0, 113, i)), 1);
  EXPECT_LT(asked(), 50u);                                                   // one in a second
  s->change_options([](svm::SocketOptions& o) { o.ip4_path_mtu = 1 + 2; });  // IP_PMTUDISC_DO
  const svm::Endpoint to = at(192, 0, 2, 9);
  EXPECT_EQ(send(std::string(2000, 'x'), {.to = &to}), 2000);
}

TEST_F(DatagramWays, OfADatagramOfSeveralCallsTheFirstIsTold) {
  bind();
  const svm::Endpoint bad = at(203, 0, 113, 1), good = at(192, 0, 2, 9);
  const auto part = [&](const svm::Endpoint& to, int flags) {
    char byte = 'x';
    const iovec v{&byte, 1};
    return s->send_datagram({&v, 1}, flags, {.to = &to});
  };
  EXPECT_EQ(part(bad, MSG_MORE), -ENETUNREACH);
  EXPECT_EQ(part(good, MSG_MORE), 1);
  EXPECT_EQ(part(bad, 0), 1) << "the first one's destination counts";
  s->cork(true);
  EXPECT_EQ(part(bad, 0), -ENETUNREACH);
  EXPECT_EQ(part(good, 0), 1);
  s->cork(false);
  const auto all = sent(2);
  EXPECT_EQ(all[0].second, "xx");
  EXPECT_EQ(all[1].second, "x");
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
