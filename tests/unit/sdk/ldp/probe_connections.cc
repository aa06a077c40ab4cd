// Whose a socket becomes; names, options, and how connecting ends.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#include <cstring>

#include "probe.h"

namespace loom::probe {
namespace {

void loopback() {
  const int l = tcp_socket();
  CHECK(bind_to(l, "127.0.0.1", 0) == 0 && listen(l, 1) == 0);
  const int c = tcp_socket();
  CHECK(connect_to(c, "127.0.0.1", port_of(l)) == 0);
  const int s = accept(l, nullptr, nullptr);
  expect_talk(c, s);
  // Bound to any address, and decided by where it goes.
  const int any = tcp_socket();
  CHECK(bind_to(any, "0.0.0.0", 0) == 0);
  CHECK(connect_to(any, "127.0.0.1", port_of(l)) == 0);
}

void refused() {
  const int c = tcp_socket();
  CHECK(connect_to(c, kStack, 1) == -1 && errno == ECONNREFUSED);
  const int first = listener(80), second = tcp_socket();
  CHECK(bind_to(second, kStack, 80) == -1 && errno == EADDRINUSE);
  CHECK(bind_to(second, kStack, 81) == 0);
  CHECK(bind_to(second, kStack, 82) == -1 && errno == EINVAL);
  CHECK(listen(second, 1) == 0);
  sockaddr_in in{};
  socklen_t len = sizeof in;
  CHECK(getpeername(first, reinterpret_cast<sockaddr*>(&in), &len) == -1 && errno == ENOTCONN);
  CHECK(send(first, "x", 1, MSG_NOSIGNAL) == -1 && (errno == EPIPE || errno == ENOTCONN));
  CHECK(fcntl(first, F_SETFL, O_NONBLOCK) == 0);
  CHECK(accept(first, nullptr, nullptr) == -1 && errno == EAGAIN);
}

void nonblocking_connect() {
  const int c = tcp_socket(SOCK_NONBLOCK);
  CHECK(connect_to(c, kStack, 1) == -1 && errno == EINPROGRESS);
  CHECK(events_of(c, 20'000, POLLOUT) & POLLERR);
  CHECK(option(c, SOL_SOCKET, SO_ERROR) == ECONNREFUSED && option(c, SOL_SOCKET, SO_ERROR) == 0);
  const int silent = tcp_socket(SOCK_NONBLOCK);
  CHECK(connect_to(silent, kStack, 2) == -1 && errno == EINPROGRESS);
  CHECK(connect_to(silent, kStack, 2) == -1 && errno == EALREADY);
  CHECK(events_of(silent, 20, POLLOUT) == 0);
}

void port_before_listen() {
  const int l = tcp_socket();
  CHECK(bind_to(l, kStack, 0) == 0);
  const uint16_t port = port_of(l);
  CHECK(port != 0 && listen(l, 1) == 0 && port_of(l) == port);
  const int c = tcp_socket();
  CHECK(connect_to(c, kStack, port) == 0);
  expect_talk(c, accept(l, nullptr, nullptr));
}

void options() {
  const int l = listener(80), c = tcp_socket();
  // Before the decision, and kept over it.
  CHECK(set(c, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set(c, SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
  CHECK(set(c, IPPROTO_TCP, TCP_KEEPIDLE, 11) == 0 && set(c, SOL_SOCKET, SO_RCVBUF, 50'000) == 0);
  CHECK(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "newreno", 7) == 0);
  CHECK(connect_to(c, kStack, 80) == 0);
  CHECK(option(c, IPPROTO_TCP, TCP_NODELAY) == 1 && option(c, SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(c, IPPROTO_TCP, TCP_KEEPIDLE) == 11 && option(c, SOL_SOCKET, SO_RCVBUF) == 100'000);
  char name[16]{};
  socklen_t len = sizeof name;
  CHECK(getsockopt(c, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 &&
        !std::strcmp(name, "newreno"));
  CHECK(option(c, SOL_SOCKET, SO_TYPE) == SOCK_STREAM &&
        option(c, SOL_SOCKET, SO_DOMAIN) == AF_INET);
  CHECK(option(l, SOL_SOCKET, SO_ACCEPTCONN) == 1 && option(c, SOL_SOCKET, SO_ACCEPTCONN) == 0);
  CHECK(set(c, IPPROTO_TCP, TCP_FASTOPEN, 1) == -ENOPROTOOPT);
  CHECK(set(c, IPPROTO_TCP, TCP_KEEPCNT, 0) == -EINVAL);
  CHECK(set(c, IPPROTO_IP, IP_TOS, 0x10) == 0 && option(c, IPPROTO_IP, IP_TOS) == 0x10);
  const timeval tv{0, 30'000};
  CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  char byte;
  CHECK(recv(c, &byte, 1, 0) == -1 && errno == EAGAIN);
}

// Two sockets ask for a daemon that is not there.
void kernel_fallback() {
  const int free = tcp_socket();
  CHECK(set(free, IPPROTO_IP, IP_MINTTL, 5) == 0);
  for (int i = 0; i < 2; ++i) {
    const int l = tcp_socket();
    CHECK(bind_to(l, "0.0.0.0", 0) == 0 && listen(l, 1) == 0 && port_of(l) != 0);
    const int c = tcp_socket();
    CHECK(connect_to(c, "127.0.0.1", port_of(l)) == 0);
    expect_talk(c, accept(l, nullptr, nullptr));
  }
}

void no_fallback() {
  const int l = tcp_socket(), c = tcp_socket();
  CHECK(bind_to(l, "0.0.0.0", 0) == -1 && errno == ENETDOWN);
  CHECK(connect_to(c, kStack, 80) == -1 && errno == ENETDOWN);
  const int local = tcp_socket();
  CHECK(bind_to(local, "127.0.0.1", 0) == 0 && listen(local, 1) == 0);
}

void no_sockets() {
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  put(pipe_fds[1], "x");
  CHECK(events_of(pipe_fds[0], 0) == POLLIN);
  const int unused = tcp_socket();
  CHECK(close(unused) == 0);
}

constexpr Scenario kScenarios[] = {
    {"loopback", loopback},
    {"refused", refused},
    {"nonblocking_connect", nonblocking_connect},
    {"port_before_listen", port_before_listen},
    {"options", options},
    {"kernel_fallback", kernel_fallback},
    {"no_fallback", no_fallback},
    {"no_sockets", no_sockets},
};

}  // namespace

std::span<const Scenario> connection_scenarios() { return kScenarios; }

}  // namespace loom::probe
