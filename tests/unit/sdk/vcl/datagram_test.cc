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
  EXPECT_EQ(s->last_datagram().time, -1);
  DatagramHeader h{};
  h.flags = 0x0f;
  h.is_ip4 = 1;
  h.time = 77;
  inject_raw(h, "");
  EXPECT_EQ(receive(10, MSG_PEEK).in.header.time, 77);
  EXPECT_EQ(receive(10).in.header.time, 77);
  EXPECT_EQ(s->last_datagram().time, 77);
}

}  // namespace
}  // namespace loom::vcl
