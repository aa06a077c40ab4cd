// What datagram sessions ask of the daemon: how much may wait, what paths take, membership of
// groups.
#include <thread>

#include "datagram_bed.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

// --- How much may wait

// As Linux: more or less may wait from then on, and nothing that waits is lost.
TEST_F(Datagrams, BuffersOfAnOpenSocketGrowAndShrink) {
  bind();
  const std::string big(60'000, 'x');
  ASSERT_EQ(s->set_sizes(1u << 20, {}), 0);
  EXPECT_EQ(s->rx_limit(), 1u << 20);
  for (uint16_t i = 0; i < 17; ++i) inject(big, static_cast<uint16_t>(100 + i));
  ASSERT_EQ(s->set_sizes(1, {}), 0);  // room for one datagram stays
  EXPECT_GE(s->rx_limit(), kMaxDatagramBytes + sizeof(DatagramHeader));
  EXPECT_LT(s->rx_limit(), 100'000u);
  for (uint16_t i = 0; i < 17; ++i) {
    const Got got = receive(kMaxDatagramBytes);
    ASSERT_EQ(got.n, 60'000);
    EXPECT_EQ(got.in.from().port, htons(static_cast<uint16_t>(100 + i)));
  }
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  ASSERT_EQ(send("way", out), 3);  // while the daemon can say that there is one
  ASSERT_EQ(sent(1).size(), 1u);
  const auto fill = [&] {  // the daemon stands still
    size_t n = 0;
    daemon->run([&] {
      while (send(big, out) == 60'000) ++n;
    });
    EXPECT_EQ(sent(n).size(), n);
    return n;
  };
  EXPECT_EQ(fill(), (256u << 10) / 60'064);
  ASSERT_EQ(s->set_sizes({}, 1u << 20), 0);
  EXPECT_EQ(s->tx_limit(), 1u << 20);
  EXPECT_EQ(fill(), (1u << 20) / 60'064);
  ASSERT_EQ(s->set_sizes({}, 1), 0);
  EXPECT_GE(s->tx_limit(), 3 * (kMaxDatagramBytes + sizeof(DatagramHeader)));
  EXPECT_EQ(fill(), s->tx_limit() / 60'064);
}

// Of a session that processes share each of them may change it for all.
TEST_F(Datagrams, WhatAnotherProcessHasAskedForIsSeenByWhoPolls) {
  bind();
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  ASSERT_EQ(send("way", out), 3);  // while the daemon can say that there is one
  ASSERT_EQ(sent(1).size(), 1u);
  const std::string big(60'000, 'x');
  size_t n = 0;
  daemon->run([&] {  // it stands still
    while (send(big, out) == 60'000) ++n;
    EXPECT_FALSE(s->has_room(60'064));
    EXPECT_FALSE(s->poll(POLLOUT, false) & POLLOUT);
    daemon->set_tx_size(0, 1u << 20);
    EXPECT_TRUE(s->poll(POLLOUT, false) & POLLOUT);
    daemon->set_tx_size(0, 300'000);
    EXPECT_FALSE(s->has_room(60'064));
    daemon->set_tx_size(0, 1u << 20);
    EXPECT_TRUE(s->has_room(60'064));
    for (const uint32_t nonsense : {0u, (1u << 30) + 1, ~0u}) {
      daemon->set_tx_size(0, nonsense);
      EXPECT_TRUE(s->has_room(60'064)) << nonsense;
      EXPECT_FALSE(s->has_room(1u << 20)) << nonsense;
    }
  });
  EXPECT_EQ(sent(n).size(), n);
}

TEST_F(Datagrams, SizesThatAreSetWhileAnotherThreadOpensItCount) {
  ASSERT_TRUE(worker->attach());
  std::thread first, second;
  std::atomic<bool> is_second_on_its_way{false};
  daemon->run([&] {  // no answer as long as this lasts
    first = std::thread([&] { EXPECT_EQ(s->open_datagrams(nullptr), 0); });
    while (s->state() != Session::State::kConnecting) std::this_thread::yield();
    second = std::thread([&] {
      is_second_on_its_way = true;
      EXPECT_EQ(s->set_sizes(1u << 20, 1u << 21), 0);
    });
    while (!is_second_on_its_way) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  });
  first.join();
  second.join();
  EXPECT_EQ(s->rx_limit(), 1u << 20);
  EXPECT_EQ(s->tx_limit(), 1u << 21);
}

// --- Not to be fragmented (IP_MTU_DISCOVER)

TEST_F(Datagrams, SegmentsAreNeverSplitAndOneDatagramMaySayTheSame) {
  bind();
  const svm::Endpoint to = end(9);
  EXPECT_EQ(send(std::string(3000, 'x'), {.to = &to, .gso_size = 1473}), -EMSGSIZE);
  EXPECT_EQ(send(std::string(2900, 'x'), {.to = &to, .gso_size = 3000}), -EMSGSIZE);
  EXPECT_EQ(send(std::string(2900, 'x'), {.to = &to, .gso_size = 1472}), 2900);
  EXPECT_EQ(send(std::string(2900, 'x'), {.to = &to, .whole = 1}), 2900);  // of IPv6 alone
  for (const uint8_t mode : {1 + 0, 1 + 1, 1 + 4, 1 + 5}) {
    s->change_options([=](svm::SocketOptions& o) { o.ip4_path_mtu = mode; });
    EXPECT_EQ(send(std::string(1473, 'x'), {.to = &to}), mode == 1 + 4 ? -EMSGSIZE : 1473);
  }
}

TEST_F(Datagrams, WhatIsNotToBeSplitOverIp6IsSaidWithEachDatagram) {
  s->unref();
  s = worker->new_session(Session::kProtoUdp, false, true);
  ASSERT_EQ(s->bind({.is_ip4 = 0, .reserved = 0, .port = htons(53), .ip = {}}), 0);
  ASSERT_EQ(s->open_datagrams(nullptr), 0);
  const svm::Endpoint to{.is_ip4 = 0, .reserved = 0, .port = htons(9), .ip = {0xfd, 1}};
  const std::string big(1453, 'x');
  EXPECT_EQ(send(big, {.to = &to}), 1453);
  EXPECT_EQ(send(big, {.to = &to, .whole = 1}), -EMSGSIZE);
  EXPECT_EQ(send("1", {.to = &to, .whole = 1}), 1);
  s->change_options([](svm::SocketOptions& o) { o.dont_fragment6 = 1; });
  EXPECT_EQ(send(big, {.to = &to}), -EMSGSIZE);
  EXPECT_EQ(send("2", {.to = &to}), 1);
  EXPECT_EQ(send(big, {.to = &to, .whole = 0}), 1453);
  const auto all = sent(4);
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ((all[i].first.flags & kDatagramWhole) != 0, i == 1 || i == 2);
}

TEST_F(Datagrams, WhatThePathDoesNotTakeInOnePieceIsRefusedIfItMustNotBeSplit) {
  bind();
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  ASSERT_EQ(send(std::string(3000, 'x'), out), 3000);      // splitting is the default
  EXPECT_EQ(daemon->events(svm::ToDaemon::kGetPath), 1u);  // whether there is a way
  s->change_options([](svm::SocketOptions& o) { o.ip4_path_mtu = 1 + 2; });  // IP_PMTUDISC_DO
  EXPECT_EQ(send(std::string(1473, 'x'), out), -EMSGSIZE);
  EXPECT_EQ(send(std::string(1472, 'x'), out), 1472);  // 1500 with the headers of IP and UDP
  EXPECT_EQ(send("x", out), 1);
  out.gso_size = 1400;
  EXPECT_EQ(send(std::string(2800, 'x'), out), 2800);
  out.gso_size = 1473;
  EXPECT_EQ(send(std::string(2800, 'x'), out), -EMSGSIZE);
  EXPECT_EQ(sent(4).size(), 4u);
  // What the daemon says anew counts at once when it is asked for, or when it has refused one.
  daemon->set_path_mtu(1000);
  EXPECT_EQ(s->path_mtu(to, false), 1000);
  out.gso_size = 0;
  EXPECT_EQ(send(std::string(1472, 'x'), out), -EMSGSIZE);
  daemon->set_path_mtu(700);
  EXPECT_EQ(send(std::string(900, 'x'), out), 900);
  inject_error(EMSGSIZE);
  EXPECT_EQ(receive(10).n, -EMSGSIZE);
  EXPECT_EQ(send(std::string(900, 'x'), out), -EMSGSIZE);
}

TEST_F(Datagrams, ThreadsAskForPathsOneAfterTheOther) {
  bind();
  s->change_options([](svm::SocketOptions& o) { o.ip4_path_mtu = 1 + 2; });
  std::vector<std::thread> threads;
  for (uint8_t t = 0; t < 4; ++t)
    threads.emplace_back([this, t] {
      for (int i = 0; i < 50; ++i) {
        svm::Endpoint to = end(9);
        to.ip[3] = t;
        EXPECT_EQ(s->path_mtu(to, false), 1500);
        svm::InfoEvent info;
        EXPECT_EQ(s->info(info), 0);
        EXPECT_EQ(info.rtt, 1234u);
      }
    });
  for (auto& t : threads) t.join();
}

// --- Groups

TEST_F(Datagrams, MembershipIsAskedForWhenThereIsASessionToAskFor) {
  svm::GroupEvent g{};
  g.group = end(0);
  g.interface = 5;
  g.op = static_cast<uint8_t>(GroupOp::kJoin);
  EXPECT_EQ(s->ask_group(g), 0);
  g.op = static_cast<uint8_t>(GroupOp::kBlockSource);
  EXPECT_EQ(s->ask_group(g), 0);
  bind();
  EXPECT_EQ(daemon->events(svm::ToDaemon::kGroup), 0u);
  EXPECT_EQ(s->ask_groups_later(), 0);
  EXPECT_EQ(s->ask_groups_later(), 0);
  daemon->run([&] {
    ASSERT_EQ(daemon->groups().size(), 2u);
    EXPECT_EQ(daemon->groups()[0].op, static_cast<uint8_t>(GroupOp::kJoin));
    EXPECT_EQ(daemon->groups()[0].interface, 5u);
    EXPECT_EQ(daemon->groups()[0].handle, s->handle());
    EXPECT_EQ(daemon->groups()[1].op, static_cast<uint8_t>(GroupOp::kBlockSource));
  });
  daemon->answer_groups(static_cast<int32_t>(Status::kUnreachable));
  EXPECT_EQ(s->ask_group(g), -ENODEV);
  daemon->answer_groups(static_cast<int32_t>(Status::kInUse));
  EXPECT_EQ(s->ask_group(g), -EADDRINUSE);
}

TEST_F(Datagrams, EachRequestIsMadeOnce) {
  bind();
  constexpr uint32_t kThreads = 4, kTimes = 100;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t)
    threads.emplace_back([this, t] {
      svm::GroupEvent g{};
      g.group = end(0);
      g.op = static_cast<uint8_t>(GroupOp::kJoin);
      for (uint32_t i = 0; i < kTimes; ++i) {
        g.interface = t * kTimes + i;
        EXPECT_EQ(s->ask_group(g), 0);
      }
    });
  for (auto& t : threads) t.join();
  daemon->run([&] { EXPECT_EQ(daemon->groups().size(), kThreads * kTimes); });
}

// As Linux: IP_MULTICAST_IF says the interface, and not the source of who is bound to one.
TEST_F(Datagrams, WhoIsBoundToAnAddressSaysByWhichInterfaceAlone) {
  svm::Endpoint own = end(53), group = end(9), other = end(0);
  ASSERT_EQ(s->bind(own), 0);
  ASSERT_EQ(s->open_datagrams(nullptr), 0);
  other.ip[3] = 77;
  set_group_source(other);
  group.ip[0] = 239;
  DatagramOut out;
  out.to = &group;
  EXPECT_EQ(send("x", out), 1);
  const auto all = sent(1);
  EXPECT_EQ(all[0].first.flags,
            kDatagramRemote | kDatagramTtl | kDatagramLocal | kDatagramLocalInterface);
  EXPECT_EQ(all[0].first.local_ip[3], 77);
}

TEST_F(Datagrams, ToGroupsTheyGoWithTheirOwnTimeToLiveAndSource) {
  bind();
  s->ttl = 33;
  svm::Endpoint group = end(9), everybody = end(9);
  group.ip[0] = 239;
  std::fill_n(everybody.ip, 4, uint8_t{255});
  DatagramOut out;
  out.to = &everybody;
  EXPECT_EQ(send("x", out), -EACCES);
  s->change_options([](svm::SocketOptions& o) { o.broadcast = 1; });
  EXPECT_EQ(send("x", out), 1);
  out.to = &group;
  EXPECT_EQ(send("x", out), 1);
  s->ip4_group_hops = 0;
  svm::Endpoint own = end(0);
  set_group_source(own);
  EXPECT_EQ(send("x", out), 1);
  const auto all = sent(3);
  EXPECT_EQ(all[0].first.ttl, 33);
  EXPECT_EQ(all[1].first.ttl, 1);
  EXPECT_EQ(all[1].first.flags, kDatagramRemote | kDatagramTtl);
  EXPECT_EQ(all[2].first.ttl, 0);
  EXPECT_EQ(all[2].first.flags,
            kDatagramRemote | kDatagramTtl | kDatagramLocal | kDatagramLocalInterface);
  EXPECT_EQ(all[2].first.local_ip[3], own.ip[3]);
}

}  // namespace
}  // namespace loom::vcl
