// Datagram sessions as the preload library uses them.
#include <thread>

#include "datagram_bed.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

TEST_F(Datagrams, EachCallMovesOne) {
  bind();
  EXPECT_EQ(s->local().port, htons(53));
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  for (const size_t n : {0, 1, 5000, 65'507})
    ASSERT_EQ(send(std::string(n, 'x'), out), static_cast<ssize_t>(n));
  const auto all = sent(4);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].second.size(), (std::vector<size_t>{0, 1, 5000, 65'507})[i]);
    EXPECT_EQ(all[i].first.flags, kDatagramRemote);
    EXPECT_EQ(all[i].first.remote_port, htons(9));
    EXPECT_EQ(all[i].first.remote_ip[3], 9);
  }
  inject("");
  inject("one");
  inject("two");
  EXPECT_EQ(s->unread(), 0u);
  EXPECT_EQ(receive(10).n, 0);
  EXPECT_EQ(s->unread(), 3u);
  EXPECT_EQ(receive(10).bytes, "one");
  EXPECT_EQ(receive(10).bytes, "two");
  EXPECT_EQ(receive(10).n, -EAGAIN);
}

TEST_F(Datagrams, WhatIsSaidWithOneTravelsInItsHeader) {
  bind();
  const svm::Endpoint to = end(9), source = end(0);
  s->ttl = 9;
  DatagramOut out;
  out.to = &to;
  out.source = &source;
  out.tos = 0xb8;
  out.gso_size = 2;
  EXPECT_EQ(send("abcd", out), 4);
  out.ttl = 3;
  out.gso_size = 0;
  EXPECT_EQ(send("x", out), 1);
  const auto all = sent(2);
  EXPECT_EQ(all[0].first.flags, svm::kDatagramKnownFlags);
  EXPECT_EQ(all[0].first.tos, 0xb8);
  EXPECT_EQ(all[0].first.ttl, 9);
  EXPECT_EQ(all[0].first.gso_size, 2);
  EXPECT_EQ(all[0].first.local_ip[0], 192);
  EXPECT_EQ(all[1].first.ttl, 3);
}

TEST_F(Datagrams, WhatCannotBeSentIsRefusedAtOnce) {
  bind();
  EXPECT_EQ(send("where to?"), -EDESTADDRREQ);
  svm::Endpoint to = end(9), other = end(9);
  DatagramOut out;
  out.to = &to;
  EXPECT_EQ(send(std::string(65'508, 'x'), out), -EMSGSIZE);
  EXPECT_EQ(send(std::string(65'528, 'x'), out), -EMSGSIZE);
  to.is_ip4 = 0;
  EXPECT_EQ(send(std::string(65'527, 'x'), out), 65'527);
  out.gso_size = 1;
  EXPECT_EQ(send(std::string(129, 'x'), out), -EINVAL);
  out.gso_size = 0;
  out.source = &other;
  EXPECT_EQ(send("x", out), -EINVAL);  // of another family
  to.port = 0;
  out.source = nullptr;
  EXPECT_EQ(send("x", out), -EINVAL);
}

TEST_F(Datagrams, PeekTruncAndWhatDoesNotFit) {
  bind();
  inject("0123456789", 1234);
  auto g = receive(4, MSG_PEEK);
  EXPECT_EQ(g.bytes, "0123");
  EXPECT_TRUE(g.in.is_truncated);
  EXPECT_EQ(g.in.from().port, htons(1234));
  EXPECT_EQ(receive(4, MSG_PEEK | MSG_TRUNC).n, 10);
  EXPECT_EQ(receive(4).n, 4);
  EXPECT_EQ(receive(4).n, -EAGAIN);  // the rest is gone
}

TEST_F(Datagrams, ConnectAndItsEnd) {
  const svm::Endpoint to = end(9);
  ASSERT_EQ(s->connect(to), 0);
  EXPECT_EQ(s->remote().port, htons(9));
  EXPECT_NE(s->local().port, 0);
  EXPECT_EQ(send("x"), 1);
  EXPECT_EQ(sent(1)[0].first.flags, 0);
  ASSERT_EQ(s->connect(end(10)), 0);
  EXPECT_EQ(s->remote().port, htons(10));
  EXPECT_EQ(s->connect(end(FakeDaemon::kRefused)), -ENETUNREACH);
  EXPECT_EQ(s->remote().port, htons(10));  // as it was
  EXPECT_EQ(send("x"), 1);
  const svm::Endpoint nobody{.is_ip4 = 1, .reserved = 0, .port = 0, .ip = {}};
  ASSERT_EQ(s->open_datagrams(&nobody), 0);
  EXPECT_EQ(send("x"), -EDESTADDRREQ);
}

TEST_F(Datagrams, AnErrorIsToldOnceAndTheSessionGoesOn) {
  ASSERT_EQ(s->connect(end(9)), 0);
  inject_error(ECONNREFUSED);
  inject_error(ECONNREFUSED);
  EXPECT_EQ(s->poll(POLLIN | POLLOUT, false) & (POLLIN | POLLERR), uint32_t{POLLERR});
  EXPECT_EQ(receive(10).n, -ECONNREFUSED);
  EXPECT_EQ(receive(10).n, -EAGAIN);
  inject_error(ECONNREFUSED);
  EXPECT_EQ(send("x"), -ECONNREFUSED);
  EXPECT_EQ(send("x"), 1);
  inject_error(EMSGSIZE);
  EXPECT_EQ(s->take_error(), EMSGSIZE);
  EXPECT_EQ(s->take_error(), 0);
  inject("data");
  EXPECT_EQ(s->poll(POLLIN, false) & POLLERR, 0u);
  EXPECT_EQ(receive(10).bytes, "data");
}

TEST_F(Datagrams, ErrorsThatDifferAreToldOneByOne) {
  ASSERT_EQ(s->connect(end(9)), 0);
  EXPECT_FALSE(s->has_error());
  inject("data");
  inject_error(ECONNREFUSED);
  inject_error(ECONNREFUSED);
  inject_error(EMSGSIZE);
  EXPECT_FALSE(s->has_error());  // the datagram comes first
  EXPECT_EQ(receive(10).bytes, "data");
  EXPECT_TRUE(s->has_error());
  EXPECT_EQ(receive(10).n, -ECONNREFUSED);
  EXPECT_TRUE(s->has_error());
  EXPECT_EQ(receive(10).n, -EMSGSIZE);
  EXPECT_FALSE(s->has_error());
}

TEST_F(Datagrams, WithoutAPeerAnErrorStopsNoSending) {
  bind();
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  inject_error(EHOSTUNREACH);
  EXPECT_EQ(send("x", out), 1);
  EXPECT_EQ(receive(10).n, -EHOSTUNREACH);
}

TEST_F(Datagrams, TheLengthOfTheNextIsNotAnErrors) {
  bind();
  inject_error(EHOSTUNREACH);
  inject("data");
  EXPECT_EQ(s->unread(), 4u);
  EXPECT_EQ(receive(10).n, -EHOSTUNREACH);
  EXPECT_EQ(receive(10).bytes, "data");
}

TEST_F(Datagrams, NotOutOfBand) {
  ASSERT_EQ(s->connect(end(9)), 0);
  EXPECT_EQ(s->send("x", 1, MSG_OOB), -EOPNOTSUPP);
  EXPECT_EQ(s->send("y", 1, 0), 1);
  EXPECT_EQ(sent(1)[0].second, "y");
}

TEST_F(Datagrams, AnIp6SocketReachesIp4UnlessItsAddressForbids) {
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  const auto outcome = [&](bool only, uint8_t first_byte) -> ssize_t {
    Session* v6 = worker->new_session(Session::kProtoUdp, false, true);
    v6->change_options([&](svm::SocketOptions& o) { o.v6only = only; });
    EXPECT_EQ(v6->bind({.is_ip4 = 0, .reserved = 0, .port = htons(53), .ip = {first_byte}}), 0);
    EXPECT_EQ(v6->open_datagrams(nullptr), 0);
    const iovec v{const_cast<char*>("x"), 1};
    const ssize_t n = v6->send_datagram({&v, 1}, 0, out);
    EXPECT_EQ(v6->connect(to), n < 0 ? n : 0);
    v6->unref();
    return n;
  };
  EXPECT_EQ(outcome(false, 0), 1);
  EXPECT_EQ(outcome(true, 0), -ENETUNREACH);
  EXPECT_EQ(outcome(false, 0x20), -ENETUNREACH);
}

TEST_F(Datagrams, TheSmallestFifoTakesTheLargestDatagram) {
  s->rx_size = s->tx_size = 8192;
  bind();
  EXPECT_GE(s->rx_limit(), kMaxDatagramBytes + sizeof(DatagramHeader));
  EXPECT_GE(s->tx_limit(), kMaxDatagramBytes + sizeof(DatagramHeader));
  inject(std::string(kMaxDatagramBytes, 'x'));
  EXPECT_EQ(receive(kMaxDatagramBytes).n, static_cast<ssize_t>(kMaxDatagramBytes));
}

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

TEST_F(Datagrams, ACloseDoesNotLingerAndLosesNothing) {
  for (const int seconds : {0, 1000}) {
    Session* one = worker->new_session(Session::kProtoUdp, true, true);
    ASSERT_EQ(one->connect(end(9)), 0);
    const size_t i = daemon->n_sessions() - 1;
    one->change_options([&](svm::SocketOptions& o) { o.linger_s = seconds; });
    daemon->run([&] {  // the daemon stands still: what is sent is not taken yet
      EXPECT_EQ(one->send("x", 1, 0), 1);
      one->unref();
    });
    while (!daemon->closed(i)) std::this_thread::yield();
    EXPECT_FALSE(daemon->was_reset(i));
    EXPECT_EQ(daemon->sent(i).size(), sizeof(DatagramHeader) + 1);
  }
}

TEST_F(Datagrams, TwoThreadsThatOpenAtOnceHaveOneSession) {
  ASSERT_TRUE(worker->attach());
  std::thread first, second;
  std::atomic<bool> is_second_on_its_way{false};
  daemon->run([&] {  // no answer as long as this lasts
    first = std::thread([&] { EXPECT_EQ(s->open_datagrams(nullptr), 0); });
    while (s->state() != Session::State::kConnecting) std::this_thread::yield();
    EXPECT_EQ(s->connect(end(9)), -EALREADY);
    second = std::thread([&] {
      is_second_on_its_way = true;
      EXPECT_EQ(s->open_datagrams(nullptr), 0);
    });
    while (!is_second_on_its_way) std::this_thread::yield();
  });
  first.join();
  second.join();
  EXPECT_EQ(daemon->n_sessions(), 1u);
}

TEST_F(Datagrams, AFullFifoIsToldAndNothingGoesInPart) {
  bind();
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  ASSERT_EQ(send("way", out), 3);  // while the daemon can say that there is one
  ASSERT_EQ(sent(1).size(), 1u);
  size_t kept = 0;
  daemon->run([&] {  // the daemon takes what comes: it has to stand still
    while (send(std::string(60'000, 'x'), out) == 60'000) ++kept;
    EXPECT_EQ(send(std::string(60'000, 'x'), out), -EAGAIN);
    EXPECT_EQ(s->poll(POLLOUT, false) & POLLOUT, 0u);
  });
  EXPECT_GE(kept, 1u);
  EXPECT_EQ(sent(kept).size(), kept);
  s->set_nonblocking(false);
  EXPECT_EQ(send(std::string(60'000, 'x'), out), 60'000);
}

TEST_F(Datagrams, AReaderSleepsUntilOneComes) {
  bind();
  s->set_nonblocking(false);
  std::thread reader([&] { EXPECT_EQ(receive(10).bytes, "wake"); });
  inject("wake");
  reader.join();
}

TEST_F(Datagrams, ABrokenFrameEndsTheSession) {
  bind();
  DatagramHeader h{};
  h.length = 5;
  inject_raw(h, "four");
  EXPECT_EQ(receive(10).n, -EIO);
  EXPECT_NE(s->poll(POLLIN, false) & POLLHUP, 0u);
}

TEST_F(Datagrams, TheDaemonsEndIsToldAsAnError) {
  bind();
  s->set_nonblocking(false);
  std::thread reader([&] { EXPECT_EQ(receive(10).n, -ECONNRESET); });
  daemon->kill();
  reader.join();
}

TEST_F(Datagrams, AnErrorIsNothingToRead) {  // as Linux: POLLERR alone
  bind();
  inject_error(ECONNREFUSED);
  EXPECT_EQ(s->poll(POLLIN, false), uint32_t{POLLERR});
  inject_error(EHOSTUNREACH);
  EXPECT_EQ(s->poll(POLLIN, false), uint32_t{POLLERR});
  inject("behind them");
  EXPECT_EQ(s->poll(POLLIN, false), uint32_t{POLLERR | POLLIN});
  EXPECT_EQ(receive(20).n, -ECONNREFUSED);
  EXPECT_EQ(receive(20).n, -EHOSTUNREACH);
  EXPECT_EQ(s->poll(POLLIN, false), uint32_t{POLLIN});
  EXPECT_EQ(receive(20).bytes, "behind them");
  EXPECT_EQ(s->poll(POLLIN, false), 0u);
}

TEST_F(Datagrams, AReaderIsWokenByAnErrorAlone) {
  bind();
  s->set_nonblocking(false);
  std::thread reader([&] { EXPECT_EQ(receive(10).n, -ECONNREFUSED); });
  inject_error(ECONNREFUSED);
  reader.join();
}

TEST_F(Datagrams, WithoutThePeerAPortThatNobodyAskedForIsNone) {  // until something is sent
  svm::Endpoint none{};
  none.is_ip4 = 1;
  ASSERT_EQ(s->connect(end(9)), 0);
  EXPECT_NE(s->local().port, 0);
  ASSERT_EQ(s->open_datagrams(&none), 0);
  EXPECT_EQ(s->local().port, 0);
  const svm::Endpoint to = end(9);
  EXPECT_EQ(send("x", {.to = &to}), 1);
  EXPECT_NE(s->local().port, 0);
  ASSERT_EQ(s->open_datagrams(&none), 0);
  ASSERT_EQ(s->connect(end(10)), 0);
  EXPECT_NE(s->local().port, 0);
  s->unref();
  s = worker->new_session(Session::kProtoUdp, true, true);
  bind(55);
  ASSERT_EQ(s->connect(end(9)), 0);
  ASSERT_EQ(s->open_datagrams(&none), 0);
  EXPECT_EQ(s->local().port, htons(55));
}

TEST_F(Datagrams, WhenTheLatestCameIsKept) {
  bind();
  EXPECT_EQ(s->last_arrival(), -1);
  DatagramHeader h{};
  h.flags = 0x0f;
  h.is_ip4 = 1;
  h.time = 77;
  inject_raw(h, "");
  EXPECT_EQ(receive(10, MSG_PEEK).in.header.time, 77);
  EXPECT_EQ(receive(10).in.header.time, 77);
  EXPECT_EQ(s->last_arrival(), 77);
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
