// libvppcom against a daemon in this process.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vcl/vppcom.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "svm/datagram.h"
#include "vppcom_bed.h"

namespace loom {
namespace {

using Clock = std::chrono::steady_clock;
using namespace vppcom_bed;

TEST_F(Vppcom, ASecondAppIsRefused) { EXPECT_EQ(create(), VPPCOM_EEXIST); }

TEST_F(Vppcom, WithoutADaemonTheAttachFails) {
  vppcom_app_destroy();
  daemon_.reset();
  EXPECT_EQ(create(), VPPCOM_ECONNREFUSED);
}

TEST_F(Vppcom, AClientAndAServerTalk) {
  const uint32_t l = listener(80);
  const uint32_t c = session();
  Address a(80);
  ASSERT_EQ(vppcom_session_connect(c, &a.ep), VPPCOM_OK);
  Address from(0);
  const int s = vppcom_session_accept(l, &from.ep, 0);
  ASSERT_GE(s, 0);
  EXPECT_EQ(from.ip[0], 10);
  EXPECT_NE(from.ep.port, 0);
  EXPECT_EQ(write(c, "question"), 8);
  EXPECT_EQ(read(static_cast<uint32_t>(s)), "question");
  EXPECT_EQ(write(static_cast<uint32_t>(s), "answer"), 6);
  EXPECT_EQ(read(c), "answer");
  EXPECT_EQ(vppcom_session_listener(static_cast<uint32_t>(s)), static_cast<int>(l));
  EXPECT_EQ(vppcom_session_n_accepted(l), 1);

  // Half close: the peer reads what was sent and then end of file, and may go on writing.
  write(c, "last");
  EXPECT_EQ(vppcom_session_shutdown(c, SHUT_WR), VPPCOM_OK);
  EXPECT_EQ(write(c, "x"), VPPCOM_EPIPE);
  EXPECT_EQ(read(static_cast<uint32_t>(s), 4), "last");
  EXPECT_EQ(read_result(static_cast<uint32_t>(s)), 0);
  EXPECT_EQ(write(static_cast<uint32_t>(s), "still"), 5);
  EXPECT_EQ(read(c), "still");
  EXPECT_EQ(vppcom_session_close(static_cast<uint32_t>(s)), VPPCOM_OK);
  EXPECT_EQ(read_result(c), 0);
  EXPECT_EQ(vppcom_session_close(c), VPPCOM_OK);
  EXPECT_EQ(vppcom_session_close(c), VPPCOM_EBADFD);
}

TEST_F(Vppcom, OutcomesOfConnect) {
  Address refused(FakeDaemon::kRefused), silent(FakeDaemon::kSilent);
  const uint32_t c = session();
  EXPECT_EQ(vppcom_session_connect(c, &refused.ep), VPPCOM_ECONNREFUSED);
  const uint32_t n = session(true);
  EXPECT_EQ(vppcom_session_connect(n, &refused.ep), VPPCOM_EINPROGRESS);
  vcl_poll_t p{0, n, POLLOUT, 0};
  EXPECT_EQ(vppcom_poll(&p, 1, 5), 1);
  EXPECT_TRUE(p.revents & POLLERR);
  EXPECT_EQ(vppcom_session_get_error(n), VPPCOM_ECONNREFUSED);
  EXPECT_EQ(vppcom_session_get_error(n), VPPCOM_OK);  // taken
  const uint32_t s = session(true);
  EXPECT_EQ(vppcom_session_connect(s, &silent.ep), VPPCOM_EINPROGRESS);
  EXPECT_EQ(vppcom_session_connect(s, &silent.ep), VPPCOM_EALREADY);
  EXPECT_EQ(read_result(s), VPPCOM_EAGAIN);
  EXPECT_EQ(vppcom_session_close(s), VPPCOM_OK);
}

TEST_F(Vppcom, AUsedPortIsRefusedAndAFreeOneChosen) {
  listener(80);
  const uint32_t sh = session();
  Address a(80);
  ASSERT_EQ(vppcom_session_bind(sh, &a.ep), VPPCOM_OK);
  EXPECT_EQ(vppcom_session_listen(sh, 1), VPPCOM_EADDRINUSE);
  const uint32_t any = listener(0);
  Address local(0);
  uint32_t len = sizeof local.ep;
  EXPECT_EQ(vppcom_session_attr(any, VPPCOM_ATTR_GET_LCL_ADDR, &local.ep, &len), VPPCOM_OK);
  EXPECT_NE(local.ep.port, 0);
}

TEST_F(Vppcom, EndOfStreamAndReset) {
  const uint32_t a = outside(), b = outside();
  daemon_->inject(0, "tail");
  daemon_->inject_fin(0);
  EXPECT_EQ(read(a), "tail");
  EXPECT_EQ(read_result(a), 0);
  daemon_->inject(1, "rest");
  daemon_->inject_reset(1, ECONNRESET);
  EXPECT_EQ(read(b), "rest");  // came before the reset
  EXPECT_EQ(read_result(b), VPPCOM_ECONNRESET);
  EXPECT_EQ(read_result(b), 0);  // reported once
  EXPECT_EQ(write(b, "x"), VPPCOM_EPIPE);
}

TEST_F(Vppcom, ABlockedReaderIsWokenByBytesFinAndReset) {
  for (int what = 0; what < 3; ++what) {
    const uint32_t sh = outside();
    const auto i = static_cast<size_t>(what);
    std::atomic<int> got{1000};
    std::thread reader([&] { got = read_result(sh); });
    while (daemon_->events(svm::ToDaemon::kTx) == 99) {}
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // most likely asleep by now
    EXPECT_EQ(got, 1000);
    if (what == 0) daemon_->inject(i, "x");
    if (what == 1) daemon_->inject_fin(i);
    if (what == 2) daemon_->inject_reset(i, ETIMEDOUT);
    reader.join();
    EXPECT_EQ(got, what == 0 ? 1 : what == 1 ? 0 : VPPCOM_ETIMEDOUT);
  }
}

TEST_F(Vppcom, ManyBlockedThreadsEachGetTheirOwnWakeUp) {
  constexpr size_t kThreads = 8, kRounds = 200;
  std::vector<uint32_t> sh;
  for (size_t i = 0; i < kThreads; ++i) sh.push_back(outside());
  std::vector<std::thread> threads;
  std::atomic<size_t> total{0};
  for (size_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      for (size_t got = 0; got < kRounds;) {
        char buf[64];
        const int n = vppcom_session_read(sh[i], buf, sizeof buf);
        ASSERT_GT(n, 0);
        got += static_cast<size_t>(n);
        total += static_cast<size_t>(n);
      }
    });
  for (size_t round = 0; round < kRounds; ++round)
    for (size_t i = 0; i < kThreads; ++i) EXPECT_EQ(daemon_->inject(i, "x"), 1u);
  for (auto& t : threads) t.join();
  EXPECT_EQ(total, kThreads * kRounds);
}

TEST_F(Vppcom, AFullFifoBlocksTheWriterUntilThePeerReads) {
  const uint32_t l = listener(80);
  const uint32_t c = session();
  Address a(80);
  ASSERT_EQ(vppcom_session_connect(c, &a.ep), VPPCOM_OK);
  const auto s = static_cast<uint32_t>(vppcom_session_accept(l, nullptr, 0));
  constexpr size_t kTotal = 4 << 20;  // 32 times both fifos
  std::string sent(kTotal, '\0');
  for (size_t i = 0; i < kTotal; ++i) sent[i] = static_cast<char>(i * 131 >> 3);
  std::thread writer([&] {
    EXPECT_EQ(vppcom_session_write(c, sent.data(), kTotal), static_cast<int>(kTotal));
    vppcom_session_close(c);
  });
  std::string got;
  for (std::string part = read(s, 10'000); !part.empty(); part = read(s, 10'000)) got += part;
  writer.join();
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
}

TEST_F(Vppcom, ANonBlockingWriterGetsEagainAndThenPollout) {
  const uint32_t l = listener(80);
  const uint32_t c = session();
  Address a(80);
  ASSERT_EQ(vppcom_session_connect(c, &a.ep), VPPCOM_OK);
  const auto s = static_cast<uint32_t>(vppcom_session_accept(l, nullptr, 0));
  uint32_t flags = O_NONBLOCK, len = sizeof flags;
  vppcom_session_attr(c, VPPCOM_ATTR_SET_FLAGS, &flags, &len);
  const std::string block(10'000, 'x');
  size_t sent = 0;
  while (true) {  // the daemon moves bytes meanwhile: two fifos of 64 KB take at most 128 KB
    const int n = write(c, block);
    if (n == VPPCOM_EAGAIN) {
      vcl_poll_t p{0, c, POLLOUT, 0};
      if (vppcom_poll(&p, 1, 0.2) == 0) break;
      continue;
    }
    ASSERT_GT(n, 0);
    sent += static_cast<size_t>(n);
    ASSERT_LE(sent, 128u << 10);
  }
  std::thread reader([&] {
    for (size_t got = 0; got < sent;) got += read(s).size();
  });
  vcl_poll_t p{0, c, POLLOUT, 0};
  EXPECT_EQ(vppcom_poll(&p, 1, 5), 1);
  EXPECT_EQ(p.revents, POLLOUT);
  reader.join();
}

TEST_F(Vppcom, ABusyDaemonGetsOneEventForManyWrites) {
  const uint32_t c = outside();
  const uint64_t before = daemon_->events(svm::ToDaemon::kTx);
  daemon_->run([&] {  // the daemon is busy with this, and has armed the fifo once
    for (int i = 0; i < 100; ++i) EXPECT_EQ(write(c, "x"), 1);
  });
  EXPECT_EQ(daemon_->sent(0), std::string(100, 'x'));
  daemon_->run([] {});
  EXPECT_LE(daemon_->events(svm::ToDaemon::kTx), before + 1);
}

TEST_F(Vppcom, ZeroCopyReadAndGatherWrite) {
  const uint32_t c = outside(true);
  vppcom_data_segment_t ds[4];
  EXPECT_EQ(vppcom_session_read_segments(c, ds, 4, 100), VPPCOM_EAGAIN);
  daemon_->inject(0, "hello world");
  ASSERT_EQ(vppcom_session_read_segments(c, ds, 4, 5), 5);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(ds[0].data), ds[0].len), "hello");
  ASSERT_EQ(vppcom_session_read_segments(c, ds, 4, 100), 11);  // still there
  vppcom_session_free_segments(c, 6);
  EXPECT_EQ(read(c), "world");
  unsigned char x[] = "ab", y[] = "cde";
  vppcom_data_segment_t out[2] = {{x, 2}, {y, 3}};
  EXPECT_EQ(vppcom_session_write_segments(c, out, 2), 5);
  EXPECT_EQ(daemon_->sent(0), "abcde");
  std::string big(65 << 10, 'z');
  vppcom_data_segment_t too_big{reinterpret_cast<unsigned char*>(big.data()), 65 << 10};
  EXPECT_EQ(vppcom_session_write_segments(c, &too_big, 1), VPPCOM_EINVAL);
}

TEST_F(Vppcom, PeekLeavesTheBytes) {
  const uint32_t c = outside();
  daemon_->inject(0, "abc");
  char buf[8] = {};
  EXPECT_EQ(vppcom_session_recvfrom(c, buf, 2, MSG_PEEK, nullptr), 2);
  EXPECT_EQ(vppcom_session_recvfrom(c, buf, 8, 0, nullptr), 3);
  EXPECT_STREQ(buf, "abc");
  EXPECT_EQ(vppcom_session_recvfrom(c, buf, 8, MSG_OOB, nullptr), VPPCOM_EAFNOSUPPORT);
}

TEST_F(Vppcom, TheBacklogIsReal) {
  const uint32_t l = listener(80, 4, true);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(daemon_->dial(80));
  EXPECT_FALSE(daemon_->dial(80));
  for (int i = 0; i < 4; ++i) EXPECT_GE(vppcom_session_accept(l, nullptr, 0), 0);
  EXPECT_EQ(vppcom_session_accept(l, nullptr, 0), VPPCOM_EAGAIN);
  EXPECT_TRUE(daemon_->dial(80));
}

TEST_F(Vppcom, OptionsReachTheDaemon) {
  const uint32_t c = session();
  uint32_t on = 1, len = sizeof on;
  vppcom_session_attr(c, VPPCOM_ATTR_SET_TCP_NODELAY, &on, &len);
  uint32_t idle = 30;
  vppcom_session_attr(c, VPPCOM_ATTR_SET_TCP_KEEPIDLE, &idle, &len);
  Address a(7);
  ASSERT_EQ(vppcom_session_connect(c, &a.ep), VPPCOM_OK);
  EXPECT_EQ(daemon_->options(0).nodelay, 1);
  EXPECT_EQ(daemon_->options(0).keepidle_ms, 30'000u);
  vppcom_session_attr(c, VPPCOM_ATTR_SET_KEEPALIVE, &on, &len);
  while (daemon_->events(svm::ToDaemon::kSetOption) == 0) std::this_thread::yield();
  EXPECT_EQ(daemon_->options(0).keepalive, 1);
  EXPECT_EQ(daemon_->options_number(0), 1u);
  vppcom_session_attr(c, VPPCOM_ATTR_SET_TCP_KEEPIDLE, &idle, &len);
  while (daemon_->events(svm::ToDaemon::kSetOption) == 1) std::this_thread::yield();
  EXPECT_EQ(daemon_->options_number(0), 2u) << "they may overtake each other on their way";
  uint32_t value = 0;
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_GET_TCP_KEEPIDLE, &value, &len), VPPCOM_OK);
  EXPECT_EQ(value, 30u);
  uint32_t small = 1;
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_GET_TCP_KEEPIDLE, &value, &small), VPPCOM_EINVAL);
  EXPECT_EQ(vppcom_session_attr(c, 9999, &value, &len), VPPCOM_EINVAL);
}

TEST_F(Vppcom, OptionsThatDoNotFitAreRefused) {
  const uint32_t c = session();
  uint32_t value = 70'000, len = sizeof value;
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_SET_TCP_USER_MSS, &value, &len), VPPCOM_EINVAL);
  value = 5'000'000;  // seconds: more milliseconds than there is room for
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_SET_TCP_KEEPIDLE, &value, &len), VPPCOM_EINVAL);
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_GET_TCP_USER_MSS, &value, &len), VPPCOM_OK);
  EXPECT_EQ(value, 0u);
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_GET_TCP_KEEPIDLE, &value, &len), VPPCOM_OK);
  EXPECT_EQ(value, 0u);
}

TEST_F(Vppcom, TheRoutingTableIsTheNamespaces) {
  const uint32_t c = session();
  uint32_t table = 0, len = sizeof table;
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_GET_VRF, &table, &len), VPPCOM_OK);
  EXPECT_EQ(table, FakeDaemon::kIp4Table);
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_SET_VRF, &table, &len), VPPCOM_OK);
  ++table;
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_SET_VRF, &table, &len), VPPCOM_ENOTSUP);
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_GET_VRF, &table, &len), VPPCOM_OK);
  EXPECT_EQ(table, FakeDaemon::kIp4Table);
}

TEST_F(Vppcom, TerminateSendsAReset) {
  const uint32_t c = outside();
  EXPECT_EQ(vppcom_session_terminate(c), VPPCOM_OK);
  while (daemon_->events(svm::ToDaemon::kReset) == 0) std::this_thread::yield();
  EXPECT_TRUE(daemon_->was_reset(0));
}

TEST_F(Vppcom, OtherTransportsSayThatTheyDoNotExist) {
  const int u = vppcom_session_create(VPPCOM_PROTO_QUIC, 0);
  ASSERT_GE(u, 0);
  Address a(53);
  EXPECT_EQ(vppcom_session_bind(static_cast<uint32_t>(u), &a.ep), VPPCOM_ENOTSUP);
  EXPECT_EQ(vppcom_session_connect(static_cast<uint32_t>(u), &a.ep), VPPCOM_ENOTSUP);
}

TEST_F(Vppcom, DatagramsComeWithTheirAddresses) {
  const auto u = static_cast<uint32_t>(vppcom_session_create(VPPCOM_PROTO_UDP, 1));
  Address local(53), peer(9000), from(0);
  ASSERT_EQ(vppcom_session_bind(u, &local.ep), VPPCOM_OK);
  EXPECT_EQ(vppcom_session_listen(u, 1), VPPCOM_OK);
  char buf[100] = "hello";
  EXPECT_EQ(vppcom_session_sendto(u, buf, 5, 0, &peer.ep), 5);
  EXPECT_EQ(vppcom_session_write(u, buf, 5), -EDESTADDRREQ);
  svm::DatagramHeader h{};
  std::string sent;
  while ((sent += daemon_->sent(0)).size() < sizeof h + 5) std::this_thread::yield();
  std::memcpy(&h, sent.data(), sizeof h);
  EXPECT_EQ(h.remote_port, htons(9000));
  EXPECT_EQ(h.remote_ip[0], 10);
  EXPECT_EQ(sent.substr(sizeof h), "hello");
  EXPECT_EQ(vppcom_session_recvfrom(u, buf, sizeof buf, 0, &from.ep), VPPCOM_EAGAIN);
  h.flags = svm::kDatagramKnownFlags;
  h.remote_port = htons(1234);
  h.length = 3;
  daemon_->inject(0, std::string(reinterpret_cast<const char*>(&h), sizeof h) + "abc");
  EXPECT_EQ(vppcom_session_recvfrom(u, buf, 2, MSG_PEEK, &from.ep), 2);
  EXPECT_EQ(vppcom_session_recvfrom(u, buf, sizeof buf, 0, &from.ep), 3);
  EXPECT_EQ(from.ep.port, htons(1234));
  EXPECT_EQ(from.ip[0], 10);
  for (const auto& [set, get] :
       {std::pair(VPPCOM_ATTR_SET_RX_FIFO_LEN, VPPCOM_ATTR_GET_RX_FIFO_LEN),
        std::pair(VPPCOM_ATTR_SET_TX_FIFO_LEN, VPPCOM_ATTR_GET_TX_FIFO_LEN)})
    for (const uint32_t size : {3u << 20, 300'000u}) {  // of an open one
      uint32_t value = size, len = sizeof value;
      EXPECT_EQ(vppcom_session_attr(u, set, &value, &len), VPPCOM_OK);
      value = 0;
      EXPECT_EQ(vppcom_session_attr(u, get, &value, &len), VPPCOM_OK);
      EXPECT_EQ(value, size);
    }
  ASSERT_EQ(vppcom_session_connect(u, &peer.ep), VPPCOM_OK);
  EXPECT_EQ(vppcom_session_write(u, buf, 3), 3);
  // Segments: those to write are one datagram; there are none to read.
  unsigned char one[] = "one", two[] = "two";
  vppcom_data_segment_t parts[] = {{one, 3}, {two, 3}};
  EXPECT_EQ(vppcom_session_write_segments(u, parts, 2), 6);
  for (sent.clear(); sent.size() < 2 * sizeof h + 9;) {
    sent += daemon_->sent(0);
    std::this_thread::yield();
  }
  EXPECT_EQ(sent.substr(2 * sizeof h + 3), "onetwo");
  daemon_->inject(0, std::string(reinterpret_cast<const char*>(&h), sizeof h) + "abc");
  EXPECT_EQ(vppcom_session_read_segments(u, parts, 2, 10), VPPCOM_ENOTSUP);
  vppcom_session_free_segments(u, 10);
  EXPECT_EQ(vppcom_session_recvfrom(u, buf, sizeof buf, 0, &from.ep), 3);
  Address c(7);
  EXPECT_EQ(vppcom_session_sendto(outside(), buf, 1, 0, &c.ep), VPPCOM_EINVAL);  // of a stream
}

TEST_F(Vppcom, BadHandlesAreRefused) {
  EXPECT_EQ(read_result(12345), VPPCOM_EBADFD);
  EXPECT_EQ(read_result(0x05000001), VPPCOM_EBADFD);
  EXPECT_EQ(vppcom_session_close(INVALID_SESSION_ID), VPPCOM_EBADFD);
  EXPECT_EQ(vppcom_session_accept(session(), nullptr, 0), VPPCOM_EBADFD);
  EXPECT_EQ(read_result(session()), VPPCOM_ENOTCONN);
  EXPECT_EQ(write(session(), "x"), VPPCOM_ENOTCONN);
}

TEST_F(Vppcom, SelectUsesSessionIndices) {
  const uint32_t c = outside();
  vcl_si_set rd[2] = {}, wr[2] = {};
  const auto i = static_cast<uint32_t>(vppcom_session_index(c));
  rd[0] = wr[0] = 1ul << i;
  EXPECT_EQ(vppcom_select(static_cast<int>(i) + 1, rd, wr, nullptr, 1), 1);
  EXPECT_EQ(rd[0], 0u);
  EXPECT_EQ(wr[0], 1ul << i);
  rd[0] = 1ul << i;
  EXPECT_EQ(vppcom_select(static_cast<int>(i) + 1, rd, nullptr, nullptr, 0.01), 0);
  daemon_->inject(0, "x");
  rd[0] = 1ul << i;
  EXPECT_EQ(vppcom_select(static_cast<int>(i) + 1, rd, nullptr, nullptr, 5), 1);
}

TEST_F(Vppcom, WorkersHaveTheirOwnQueues) {
  EXPECT_EQ(vppcom_worker_index(), 0);
  EXPECT_EQ(vppcom_worker_register(), VPPCOM_EEXIST);
  std::thread other([&] {
    EXPECT_EQ(vppcom_worker_index(), -1);
    ASSERT_EQ(vppcom_worker_register(), VPPCOM_OK);
    EXPECT_EQ(vppcom_worker_index(), 1);
    const uint32_t c = outside();
    EXPECT_EQ(vppcom_session_worker(c), 1);
    daemon_->inject(0, "for worker 1");
    EXPECT_EQ(read(c), "for worker 1");
    vppcom_worker_unregister();
    EXPECT_EQ(read_result(c), VPPCOM_EBADFD);
  });
  other.join();
  EXPECT_EQ(daemon_->workers_added(), 1u);
  while (!daemon_->closed(0)) std::this_thread::yield();
}

TEST_F(Vppcom, TheQueueDescriptorTellsOfEvents) {
  const uint32_t c = outside(true);
  const int fd = vppcom_worker_mqs_epfd();
  ASSERT_GE(fd, 0);
  const uint32_t ep = static_cast<uint32_t>(vppcom_epoll_create());
  epoll_event e{EPOLLIN, {.u32 = 5}}, out{};
  ASSERT_EQ(vppcom_epoll_ctl(ep, EPOLL_CTL_ADD, c, &e), VPPCOM_OK);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(vppcom_epoll_wait(ep, &out, 1, 0), 0);
    pollfd p{fd, POLLIN, 0};
    EXPECT_EQ(poll(&p, 1, 0), 0);
    daemon_->inject(0, "x");
    EXPECT_EQ(poll(&p, 1, 5000), 1);
    EXPECT_EQ(vppcom_epoll_wait(ep, &out, 1, 0), 1);
    EXPECT_EQ(read(c), "x");
  }
}

TEST_F(Vppcom, WhenTheDaemonDiesSessionsAreResetAndANewOneIsAttachedTo) {
  const uint32_t c = outside();
  const uint32_t l = listener(80);
  std::atomic<int> got{1000};
  std::thread reader([&] { got = read_result(c); });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  daemon_->kill();
  reader.join();
  EXPECT_EQ(got, VPPCOM_ECONNRESET);
  EXPECT_EQ(write(c, "x"), VPPCOM_EPIPE);
  EXPECT_EQ(vppcom_worker_is_detached(), 1);
  vcl_poll_t p{0, l, POLLIN, 0};
  EXPECT_EQ(vppcom_poll(&p, 1, 5), 1);
  EXPECT_TRUE(p.revents & POLLHUP);
  EXPECT_EQ(vppcom_session_close(c), VPPCOM_OK);

  daemon_.reset();
  daemon_ = std::make_unique<FakeDaemon>(path_);
  const uint32_t again = outside();
  daemon_->inject(0, "back");
  EXPECT_EQ(read(again), "back");
  EXPECT_EQ(vppcom_worker_is_detached(), 0);
}

TEST_F(Vppcom, AForkedChildSharesTheSessionAndOutlivesItsParentsClose) {
  const uint32_t c = outside();
  const pid_t child = fork();
  if (child == 0) {
    const bool ok = read(c) == "for the child" && write(c, "from the child") == 14;
    vppcom_session_close(c);
    _exit(ok ? 0 : 1);
  }
  EXPECT_EQ(vppcom_session_close(c), VPPCOM_OK);
  EXPECT_FALSE(daemon_->closed(0));  // the child has it
  daemon_->inject(0, "for the child");
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(daemon_->sent(0), "from the child");
  while (!daemon_->closed(0)) std::this_thread::yield();
}

TEST_F(Vppcom, AListenerSurvivesTheChildThatClosesIt) {
  const uint32_t l = listener(80, 8, true);
  const pid_t child = fork();
  if (child == 0) {
    vppcom_session_close(l);
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(daemon_->dial(80));
  EXPECT_GE(vppcom_session_accept(l, nullptr, 0), 0);
}

TEST_F(Vppcom, AChildAcceptsFromItsParentsListener) {
  const uint32_t l = listener(80);
  const pid_t child = fork();
  if (child == 0) {
    const int s = vppcom_session_accept(l, nullptr, 0);  // asleep until the dial below
    const bool ok = s >= 0 && write(static_cast<uint32_t>(s), "hi") == 2;
    _exit(ok ? 0 : 1);
  }
  EXPECT_TRUE(daemon_->dial(80));
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(daemon_->sent(0), "hi");
}

}  // namespace
}  // namespace loom
