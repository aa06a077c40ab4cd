// Datagram sessions as the preload library uses them. The far end is the test, which writes and
// reads the fifos' bytes, headers and all.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "fake_daemon.h"
#include "svm/datagram.h"
#include "vcl/app_worker.h"

namespace loom::vcl {
namespace {

using svm::DatagramHeader;
using test::FakeDaemon;

struct Datagrams : testing::Test {
  void SetUp() override {
    Config config;
    config.app_socket = "/tmp/vcl-datagram-" + std::to_string(getpid()) + ".sock";
    config.rx_fifo_size = config.tx_fifo_size = 256 << 10;
    config.session_timeout = 20;
    daemon = std::make_unique<FakeDaemon>(config.app_socket);
    worker = new AppWorker(config, "datagram-test");
    s = worker->new_session(Session::kProtoUdp, true, true);
  }
  void TearDown() override {
    s->unref();
    worker->leave();
    delete worker;
  }
  static svm::Endpoint end(uint16_t port) {
    return {.is_ip4 = 1, .reserved = 0, .port = htons(port), .ip = {192, 0, 2, 9}};
  }
  void bind(uint16_t port = 53) {
    ASSERT_EQ(s->bind({.is_ip4 = 1, .reserved = 0, .port = htons(port), .ip = {}}), 0);
    ASSERT_EQ(s->open_datagrams(nullptr), 0);
  }
  ssize_t send(std::string text, const DatagramOut& out = {}) {
    const iovec v{text.data(), text.size()};
    return s->send_datagram({&v, 1}, 0, out);
  }
  struct Got {
    ssize_t n;
    std::string bytes;
    DatagramIn in{};
  };
  Got receive(size_t room, int flags = 0) {
    Got g{0, std::string(room, '?'), {}};
    const iovec v{g.bytes.data(), room};
    g.n = s->receive_datagram({&v, 1}, flags, &g.in);
    g.bytes.resize(std::min<size_t>(room, g.n > 0 ? static_cast<size_t>(g.n) : 0));
    return g;
  }
  void inject(const std::string& payload, uint16_t from = 7, uint8_t flags = 0x0f) {
    DatagramHeader h{};
    h.length = static_cast<uint32_t>(payload.size());
    h.flags = flags;
    h.is_ip4 = 1;
    h.remote_port = htons(from);
    h.remote_ip[0] = 192;
    inject_raw(h, payload);
  }
  void inject_raw(const DatagramHeader& h, const std::string& payload) {
    daemon->inject(0, std::string(reinterpret_cast<const char*>(&h), sizeof h) + payload);
  }
  static ssize_t receive_error_of(Session& of) {
    DatagramIn in;
    return of.receive_error({}, in);
  }
  void inject_error(int error) {
    DatagramHeader h{};
    h.flags = svm::kDatagramError;
    h.error = static_cast<uint16_t>(error);
    inject_raw(h, "");
  }
  // What has been sent, once there are `n` datagrams.
  std::vector<std::pair<DatagramHeader, std::string>> sent(size_t n) {
    std::vector<std::pair<DatagramHeader, std::string>> all;
    for (std::string bytes; all.size() < n;) {
      bytes += daemon->sent(0);
      DatagramHeader h;
      while (bytes.size() >= sizeof h) {
        std::memcpy(&h, bytes.data(), sizeof h);
        if (bytes.size() < sizeof h + h.length) break;
        all.emplace_back(h, bytes.substr(sizeof h, h.length));
        bytes.erase(0, sizeof h + h.length);
      }
      std::this_thread::yield();
    }
    return all;
  }

  std::unique_ptr<FakeDaemon> daemon;
  AppWorker* worker = nullptr;
  Session* s = nullptr;
};

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
  EXPECT_EQ(s->connect(end(FakeDaemon::kRefused)), -EHOSTUNREACH);
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
  EXPECT_EQ(s->poll(POLLIN | POLLOUT, false) & (POLLIN | POLLERR),
            static_cast<uint32_t>(POLLIN | POLLERR));
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

TEST_F(Datagrams, NeitherOutOfBandNorInPieces) {
  ASSERT_EQ(s->connect(end(9)), 0);
  EXPECT_EQ(s->send("x", 1, MSG_OOB), -EOPNOTSUPP);
  EXPECT_EQ(s->send("x", 1, MSG_MORE), -EOPNOTSUPP);
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
  s->rx_size = 1 << 20;  // too late
  EXPECT_LT(s->rx_limit(), 1u << 20);
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

// --- Not to be fragmented (IP_MTU_DISCOVER)

TEST_F(Datagrams, WhatThePathDoesNotTakeInOnePieceIsRefusedIfItMustNotBeSplit) {
  bind();
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  ASSERT_EQ(send(std::string(3000, 'x'), out), 3000);  // splitting is the default
  EXPECT_EQ(daemon->events(svm::ToDaemon::kGetPath), 0u);
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

// --- The error queue (IP_RECVERR)

struct ErrorQueue : Datagrams {
  void SetUp() override {
    Datagrams::SetUp();
    s->hear_errors(true, true);
    bind();
  }
  void inject_queued(int error, const std::string& quoted, uint16_t origin = 2) {
    DatagramHeader h{};
    h.length = static_cast<uint32_t>(quoted.size());
    h.flags = svm::kDatagramError | svm::kDatagramQueued;
    h.error = static_cast<uint16_t>(error);
    h.gso_size = origin;
    h.is_ip4 = 1;
    h.remote_port = htons(7);
    inject_raw(h, quoted);
  }
  Got receive_error(size_t room = 100) {
    Got g{0, std::string(room, '?'), {}};
    const iovec v{g.bytes.data(), room};
    g.n = s->receive_error({&v, 1}, g.in);
    g.bytes.resize(g.n > 0 ? static_cast<size_t>(g.n) : 0);
    return g;
  }
};

TEST_F(ErrorQueue, AnErrorIsReturnedByOneCallAndReadFromTheQueue) {
  EXPECT_EQ(daemon->options(0).ip4_errors, 1);
  EXPECT_EQ(receive_error().n, -EAGAIN);
  inject_queued(EHOSTUNREACH, "quoted");
  EXPECT_EQ(s->poll(POLLIN | POLLOUT, false), static_cast<uint32_t>(POLLOUT | POLLERR));
  EXPECT_EQ(receive(10).n, -EHOSTUNREACH);
  EXPECT_EQ(receive(10).n, -EAGAIN);
  EXPECT_EQ(s->poll(POLLIN, false), static_cast<uint32_t>(POLLERR));
  const Got g = receive_error();
  EXPECT_EQ(g.bytes, "quoted");
  EXPECT_EQ(g.in.header.error, EHOSTUNREACH);
  EXPECT_EQ(g.in.from().port, htons(7));
  EXPECT_FALSE(g.in.is_truncated);
  EXPECT_EQ(receive_error().n, -EAGAIN);
  EXPECT_EQ(s->poll(POLLIN, false), 0u);
}

TEST_F(ErrorQueue, ErrorsBehindUnreadDatagramsAreFoundAndNotTakenForDatagrams) {
  inject("one");
  inject_queued(EHOSTUNREACH, "first");
  inject("two");
  inject_queued(ECONNREFUSED, "second");
  EXPECT_EQ(receive_error(3).bytes, "fir");
  EXPECT_EQ(s->take_error(), ECONNREFUSED);  // the next one's, as it has not been read
  EXPECT_EQ(s->unread(), 3u);
  EXPECT_EQ(receive(10).bytes, "one");
  inject_queued(EHOSTUNREACH, "third");
  EXPECT_EQ(receive_error().bytes, "second");
  EXPECT_EQ(receive_error().bytes, "third");
  // What the queue has told is no longer pending.
  EXPECT_EQ(receive(10).bytes, "two");
  EXPECT_EQ(receive(10).n, -EAGAIN);
  EXPECT_EQ(s->take_error(), 0);
}

TEST_F(ErrorQueue, WhatNobodyReadsIsBounded) {
  for (int i = 0; i < 200; ++i) {
    inject_queued(EHOSTUNREACH, std::to_string(i));
    EXPECT_EQ(receive(10).n, -EHOSTUNREACH);
  }
  int n = 0;
  while (receive_error().n >= 0) ++n;
  EXPECT_EQ(n, 64);
  inject("data");
  EXPECT_EQ(receive(10).bytes, "data");
}

TEST_F(ErrorQueue, WhatIsTooBigForThePathIsThereToo) {
  s->change_options([](svm::SocketOptions& o) { o.ip4_path_mtu = 1 + 2; });
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  EXPECT_EQ(send(std::string(2000, 'x'), out), -EMSGSIZE);
  const Got g = receive_error();
  EXPECT_EQ(g.n, 0);
  EXPECT_EQ(g.in.header.error, EMSGSIZE);
  EXPECT_EQ(g.in.header.interface, 1500u);
  EXPECT_EQ(g.in.header.gso_size, 1);
  EXPECT_EQ(g.in.from().port, htons(9));
}

TEST_F(ErrorQueue, WhatOnlyTheQueueHasEndsNoCallThatWaits) {
  inject_queued(EHOSTUNREACH, "x");
  EXPECT_EQ(receive(10).n, -EHOSTUNREACH);
  s->set_nonblocking(false);
  s->rcv_timeout = 20 * kMillisecond;
  EXPECT_EQ(receive(10).n, -EAGAIN);  // and not for ever
  s->rcv_timeout = -1;
  std::thread other([this] { inject("data"); });
  EXPECT_EQ(receive(10).bytes, "data");
  other.join();
  s->change_options([](svm::SocketOptions& o) { o.ip4_path_mtu = 1 + 2; });
  EXPECT_EQ(s->path_mtu(end(9), false), 1500);
}

TEST_F(ErrorQueue, AMistakeIsReturnedByACallAndNotQueued) {
  inject_queued(EACCES, "x", 1);
  EXPECT_EQ(receive(10).n, -EACCES);
  EXPECT_EQ(receive(10).n, -EAGAIN);
  EXPECT_EQ(receive_error().n, -EAGAIN);
}

// Whoever looks meets them at any moment.
TEST_F(ErrorQueue, ErrorsThatComeMeanwhileAreNeverDatagrams) {
  constexpr int kTimes = 3000;
  std::thread other([this] {
    for (int i = 0; i < kTimes; ++i) i % 2 ? inject_error(EHOSTUNREACH) : inject_queued(EPROTO, "");
    inject("end");
  });
  for (bool at_end = false; !at_end;) {
    EXPECT_TRUE(s->unread() == 0 || s->unread() == 3);
    const Got g = receive(10);
    at_end = g.n >= 0;
    if (at_end) {
      EXPECT_EQ(g.bytes, "end");
    }
    while (receive_error().n >= 0) {}
  }
  other.join();
}

TEST_F(ErrorQueue, ASleeperIsWoken) {
  std::thread other([this] { inject_queued(EHOSTUNREACH, "x"); });
  EXPECT_EQ(worker->wait(*s, POLLIN | POLLERR, sys::kForever), 0);
  other.join();
  EXPECT_EQ(receive_error().bytes, "x");
}

TEST_F(Datagrams, WithoutAskingThereIsNoQueueAndAnErrorComesInItsPlace) {
  bind();
  EXPECT_EQ(receive_error_of(*s), -EAGAIN);
  inject("one");
  inject_error(ECONNREFUSED);
  EXPECT_EQ(receive_error_of(*s), -EAGAIN);
  EXPECT_EQ(receive(10).bytes, "one");
  EXPECT_EQ(receive(10).n, -ECONNREFUSED);
  s->put_back_error(ECONNREFUSED);
  EXPECT_TRUE(s->has_error());
  EXPECT_EQ(receive(10).n, -ECONNREFUSED);
  EXPECT_EQ(receive(10).n, -EAGAIN);
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

TEST_F(Datagrams, WhoIsBoundToAnAddressSendsFromItToGroupsToo) {
  svm::Endpoint own = end(53), group = end(9), other = end(0);
  ASSERT_EQ(s->bind(own), 0);
  ASSERT_EQ(s->open_datagrams(nullptr), 0);
  other.ip[3] = 77;
  s->set_group_source(other);
  group.ip[0] = 239;
  DatagramOut out;
  out.to = &group;
  EXPECT_EQ(send("x", out), 1);
  EXPECT_EQ(sent(1)[0].first.flags & kDatagramLocal, 0);
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
  s->set_group_source(own);
  EXPECT_EQ(send("x", out), 1);
  const auto all = sent(3);
  EXPECT_EQ(all[0].first.ttl, 33);
  EXPECT_EQ(all[1].first.ttl, 1);
  EXPECT_EQ(all[1].first.flags, kDatagramRemote | kDatagramTtl);
  EXPECT_EQ(all[2].first.ttl, 0);
  EXPECT_EQ(all[2].first.flags, kDatagramRemote | kDatagramTtl | kDatagramLocal);
  EXPECT_EQ(all[2].first.local_ip[3], own.ip[3]);
}

}  // namespace
}  // namespace loom::vcl
