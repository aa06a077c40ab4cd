// The error queue of datagram sessions.
#include <thread>

#include "datagram_bed.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

// --- The error queue (IP_RECVERR)

struct ErrorQueue : Datagrams {
  svm::ErrorPacket by{};
  void SetUp() override {
    Datagrams::SetUp();
    s->hear_errors(true, true);
    bind();
  }
  void inject_queued(int error, const std::string& quoted, uint16_t origin = 2) {
    DatagramHeader h{};
    svm::ErrorPacket packet{};
    packet.to[0] = 10;
    packet.interface = 4;
    packet.tos = 0x48;
    packet.ttl = 61;
    h.length = static_cast<uint32_t>(sizeof packet + quoted.size());
    h.flags = svm::kDatagramError | svm::kDatagramQueued;
    h.error = static_cast<uint16_t>(error);
    h.gso_size = origin;
    h.is_ip4 = 1;
    h.remote_port = htons(7);
    inject_raw(h, std::string(reinterpret_cast<const char*>(&packet), sizeof packet) + quoted);
  }
  Got receive_error(size_t room = 100) {
    Got g{0, std::string(room, '?'), {}};
    const iovec v{g.bytes.data(), room};
    g.n = s->receive_error({&v, 1}, g.in, &by);
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
  EXPECT_EQ(by.to[0], 10);
  EXPECT_EQ(by.interface, 4u);
  EXPECT_EQ(by.tos, 0x48);
  EXPECT_EQ(by.ttl, 61);
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

}  // namespace
}  // namespace loom::vcl
