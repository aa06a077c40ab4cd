// libvppcom's DTLS: connections as streams have them, of whole datagrams.
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "svm/datagram.h"
#include "vppcom_bed.h"

namespace loom {
namespace {

using namespace vppcom_bed;

struct VppcomDtls : Vppcom {
  vppcom_proto_t proto() const override { return VPPCOM_PROTO_DTLS; }
  void inject(size_t i, const std::string& payload, uint8_t flags = 0, uint16_t error = 0) {
    svm::DatagramHeader h{};
    h.length = static_cast<uint32_t>(payload.size());
    h.flags = flags;
    h.error = error;
    daemon_->inject(i, std::string(reinterpret_cast<const char*>(&h), sizeof h) + payload);
  }
  // Of the next datagram that session `i` has sent.
  std::string sent(size_t i) {
    svm::DatagramHeader h;
    while (outside_.size() < sizeof h) outside_ += daemon_->sent(i);
    std::memcpy(&h, outside_.data(), sizeof h);
    while (outside_.size() < sizeof h + h.length) outside_ += daemon_->sent(i);
    const std::string payload = outside_.substr(sizeof h, h.length);
    outside_.erase(0, sizeof h + h.length);
    return payload;
  }
  template <class T>
  static T attr(uint32_t sh, uint32_t op) {
    T value{};
    uint32_t len = sizeof value;
    EXPECT_EQ(vppcom_session_attr(sh, op, &value, &len), VPPCOM_OK);
    return value;
  }
  std::string outside_;
};

TEST_F(VppcomDtls, AClientAndAServerTalkInDatagrams) {
  const uint32_t l = listener(4433);
  EXPECT_EQ(attr<uint32_t>(l, VPPCOM_ATTR_GET_LISTEN), 1u);
  const uint32_t c = session();
  Address a(4433);
  ASSERT_EQ(vppcom_session_connect(c, &a.ep), VPPCOM_OK);
  Address from(0), said(0);
  const int accepted = vppcom_session_accept(l, &from.ep, 0);
  ASSERT_GE(accepted, 0);
  const auto s = static_cast<uint32_t>(accepted);
  EXPECT_EQ(from.ip[0], 10);
  EXPECT_EQ(vppcom_session_listener(s), static_cast<int>(l));
  EXPECT_EQ(attr<uint32_t>(s, VPPCOM_ATTR_GET_PROTOCOL), uint32_t{VPPCOM_PROTO_DTLS});
  EXPECT_EQ(write(c, "question"), 8);
  EXPECT_EQ(write(c, "and another"), 11);
  EXPECT_EQ(read(s), "question");
  EXPECT_EQ(vppcom_session_attr(s, VPPCOM_ATTR_GET_NREAD, nullptr, nullptr), 11);
  // What does not fit is gone, and the peer is whom it was accepted from.
  char part[3];
  EXPECT_EQ(vppcom_session_recvfrom(s, part, 3, MSG_PEEK, &said.ep), 3);
  EXPECT_EQ(said.ep.port, from.ep.port);
  EXPECT_EQ(said.ip[0], 10);
  EXPECT_EQ(read(s, 3), "and");
  EXPECT_EQ(write(s, "answer"), 6);
  EXPECT_EQ(read(c), "answer");
  // An end, as a stream's.
  EXPECT_EQ(write(c, "last"), 4);
  EXPECT_EQ(vppcom_session_shutdown(c, SHUT_WR), VPPCOM_OK);
  EXPECT_EQ(write(c, "x"), VPPCOM_EPIPE);
  EXPECT_EQ(read(s), "last");
  EXPECT_EQ(read_result(s), 0);
  EXPECT_EQ(write(s, "still"), 5);
  EXPECT_EQ(read(c), "still");
  EXPECT_EQ(vppcom_session_close(s), VPPCOM_OK);
  EXPECT_EQ(read_result(c), 0);
}

TEST_F(VppcomDtls, ItsPeerIsThatOfTheConnection) {
  const uint32_t c = outside();
  Address other(99);
  char byte = 'x';
  EXPECT_EQ(vppcom_session_sendto(c, &byte, 1, 0, &other.ep), VPPCOM_EINVAL);
  EXPECT_EQ(vppcom_session_connect(c, &other.ep), VPPCOM_OK);  // it is already
  EXPECT_EQ(write(session(), "nobody"), VPPCOM_ENOTCONN);
  Address refused(FakeDaemon::kRefused);
  EXPECT_EQ(vppcom_session_connect(session(), &refused.ep), VPPCOM_ECONNREFUSED);
}

TEST_F(VppcomDtls, WhatOneRecordDoesNotTakeIsRefused) {
  daemon_->set_path_mtu(1200);
  const uint32_t c = outside();
  EXPECT_EQ(attr<uint32_t>(c, VPPCOM_ATTR_GET_MOST_PAYLOAD), 1200u);
  EXPECT_EQ(write(c, std::string(1201, 'x')), -EMSGSIZE);
  EXPECT_EQ(write(c, std::string(1200, 'y')), 1200);
  EXPECT_EQ(sent(0), std::string(1200, 'y'));
  const uint64_t asked = daemon_->events(svm::ToDaemon::kGetInfo);
  EXPECT_EQ(write(c, "small"), 5);
  EXPECT_EQ(daemon_->events(svm::ToDaemon::kGetInfo), asked);
  EXPECT_EQ(sent(0), "small");
  // The path has shrunk: the daemon says so of one that was on its way, once.
  daemon_->set_path_mtu(700);
  inject(0, "", svm::kDatagramError, EMSGSIZE);
  EXPECT_EQ(read_result(c), -EMSGSIZE);
  EXPECT_EQ(write(c, std::string(701, 'x')), -EMSGSIZE);
  EXPECT_EQ(write(c, std::string(700, 'z')), 700);
  EXPECT_EQ(sent(0), std::string(700, 'z'));
  uint32_t most = 0, len = sizeof most;
  EXPECT_EQ(vppcom_session_attr(session(), VPPCOM_ATTR_GET_MOST_PAYLOAD, &most, &len),
            VPPCOM_ENOTCONN);
  const auto u = static_cast<uint32_t>(vppcom_session_create(VPPCOM_PROTO_UDP, 1));
  EXPECT_EQ(vppcom_session_attr(u, VPPCOM_ATTR_GET_MOST_PAYLOAD, &most, &len), VPPCOM_ENOTSUP);
}

TEST_F(VppcomDtls, AFifoTakesTheLargestRecordHoweverSmallItWasWanted) {
  const uint32_t c = session();
  uint32_t size = 100, len = sizeof size;
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_SET_TX_FIFO_LEN, &size, &len), VPPCOM_OK);
  EXPECT_EQ(vppcom_session_attr(c, VPPCOM_ATTR_SET_RX_FIFO_LEN, &size, &len), VPPCOM_OK);
  Address a(7);
  ASSERT_EQ(vppcom_session_connect(c, &a.ep), VPPCOM_OK);
  EXPECT_GE(attr<uint32_t>(c, VPPCOM_ATTR_GET_TX_FIFO_LEN), 3 * 16'384u);
  EXPECT_GE(attr<uint32_t>(c, VPPCOM_ATTR_GET_RX_FIFO_LEN), 16'384u);
}

TEST_F(VppcomDtls, EpollHearsOfConnectionsDatagramsAndTheEnd) {
  const uint32_t l = listener(4433);
  const int ep = vppcom_epoll_create();
  ASSERT_GE(ep, 0);
  epoll_event e{.events = EPOLLIN, .data = {.u32 = 1}};
  ASSERT_EQ(vppcom_epoll_ctl(static_cast<uint32_t>(ep), EPOLL_CTL_ADD, l, &e), VPPCOM_OK);
  ASSERT_TRUE(daemon_->dial(4433));
  ASSERT_EQ(vppcom_epoll_wait(static_cast<uint32_t>(ep), &e, 1, 20'000), 1);
  EXPECT_EQ(e.data.u32, 1u);
  const int s = vppcom_session_accept(l, nullptr, O_NONBLOCK);
  ASSERT_GE(s, 0);
  e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u32 = 2}};
  ASSERT_EQ(
      vppcom_epoll_ctl(static_cast<uint32_t>(ep), EPOLL_CTL_ADD, static_cast<uint32_t>(s), &e),
      VPPCOM_OK);
  ASSERT_EQ(vppcom_epoll_wait(static_cast<uint32_t>(ep), &e, 1, 20'000), 1);
  EXPECT_EQ(e.data.u32, 2u);
  EXPECT_EQ(e.events, uint32_t{EPOLLOUT});
  inject(0, "one");
  ASSERT_EQ(vppcom_epoll_wait(static_cast<uint32_t>(ep), &e, 1, 20'000), 1);
  EXPECT_TRUE(e.events & EPOLLIN);
  EXPECT_EQ(read(static_cast<uint32_t>(s)), "one");
  EXPECT_EQ(read_result(static_cast<uint32_t>(s)), VPPCOM_EAGAIN);
  daemon_->inject_fin(0);
  ASSERT_EQ(vppcom_epoll_wait(static_cast<uint32_t>(ep), &e, 1, 20'000), 1);
  EXPECT_TRUE(e.events & EPOLLRDHUP);
  EXPECT_EQ(read_result(static_cast<uint32_t>(s)), 0);
}

TEST_F(VppcomDtls, AForkedChildSharesTheConnectionAndOutlivesItsParentsClose) {
  const uint32_t c = outside();
  const pid_t child = fork();
  if (child == 0) {
    const bool ok = read(c) == "for the child" && read(c) == "and once more" &&
                    write(c, "from the child") == 14 && write(c, std::string(900, 'x')) == 900;
    vppcom_session_close(c);
    _exit(ok ? 0 : 1);
  }
  EXPECT_EQ(vppcom_session_close(c), VPPCOM_OK);
  EXPECT_FALSE(daemon_->closed(0));  // the child has it
  inject(0, "for the child");
  inject(0, "and once more");
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(sent(0), "from the child");
  EXPECT_EQ(sent(0), std::string(900, 'x'));
  while (!daemon_->closed(0)) std::this_thread::yield();
}

TEST_F(VppcomDtls, AChildAcceptsFromItsParentsListener) {
  const uint32_t l = listener(4433);
  const pid_t child = fork();
  if (child == 0) {
    const int s = vppcom_session_accept(l, nullptr, 0);  // asleep until the dial below
    const bool ok = s >= 0 && write(static_cast<uint32_t>(s), "hi") == 2;
    _exit(ok ? 0 : 1);
  }
  EXPECT_TRUE(daemon_->dial(4433));
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(sent(0), "hi");
}

TEST_F(VppcomDtls, AResetAndAHardCloseAreAsThoseOfStreams) {
  const uint32_t a = outside();
  inject(0, "before");
  daemon_->inject_reset(0, ECONNRESET);
  EXPECT_EQ(read(a), "before");
  EXPECT_EQ(read_result(a), VPPCOM_ECONNRESET);
  EXPECT_EQ(write(a, "x"), VPPCOM_EPIPE);
  const uint32_t b = outside();
  int32_t linger = 0;
  uint32_t len = sizeof linger;
  EXPECT_EQ(vppcom_session_attr(b, VPPCOM_ATTR_SET_LINGER, &linger, &len), VPPCOM_OK);
  EXPECT_EQ(vppcom_session_close(b), VPPCOM_OK);
  while (!daemon_->closed(1)) std::this_thread::yield();
  EXPECT_TRUE(daemon_->was_reset(1));
}

}  // namespace
}  // namespace loom
