// Datagram sockets: what decides about them, and what a call moves.
#include <arpa/inet.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <cstring>
#include <thread>
#include <vector>

#include "probe.h"

namespace loom::probe {
namespace {

int udp_socket(int domain = AF_INET) {
  const int fd = socket(domain, SOCK_DGRAM, 0);
  CHECK(fd >= 0);
  return fd;
}
sockaddr_in stack(uint16_t port, sa_family_t family = AF_INET) {
  sockaddr_in in{};
  in.sin_family = family;
  in.sin_port = htons(port);
  inet_pton(AF_INET, kStack, &in.sin_addr);
  return in;
}
int send_to(int fd, const sockaddr_in& to, socklen_t len = sizeof(sockaddr_in)) {
  const ssize_t n = sendto(fd, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), len);
  return n < 0 ? -errno : static_cast<int>(n);
}
// The kernel has no such address.
bool is_hostlooms(int fd) {
  sockaddr_storage name{};
  socklen_t len = sizeof name;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &len) == 0);
  char text[INET6_ADDRSTRLEN]{};
  if (name.ss_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in&>(name).sin_addr, text, sizeof text);
  return std::strcmp(text, "10.0.0.2") == 0;
}

// A bad address is an error, and decides nothing; a good one by another name is good.
void datagram_names() {
  const int fd = udp_socket();
  for (int round = 0; round < 2; ++round) {
    CHECK(send_to(fd, stack(0)) == -EINVAL);
    CHECK(send_to(fd, stack(9), 7) == -EINVAL);
    CHECK(send_to(fd, stack(9, AF_UNIX)) == -EAFNOSUPPORT);
    CHECK(is_hostlooms(fd) == (round == 1));
    CHECK(send_to(fd, stack(9, round ? AF_INET : AF_UNSPEC)) == 1);
    CHECK(is_hostlooms(fd));
  }
  const int any = udp_socket(AF_INET6);
  for (int round = 0; round < 2; ++round) {
    CHECK(send_to(any, stack(9, AF_UNSPEC)) == -EDESTADDRREQ);
    CHECK(send_to(any, stack(9, AF_UNIX)) == -EINVAL);
    CHECK(send_to(any, stack(9)) == 1);
    CHECK(option(any, SOL_SOCKET, SO_RCVBUF) == option(fd, SOL_SOCKET, SO_RCVBUF));
  }
  const int connected = udp_socket(AF_INET6);
  CHECK(connect_to(connected, kStack, 9) == 0 && send(connected, "x", 1, 0) == 1);
  sockaddr_in6 peer{};
  socklen_t len = sizeof peer;
  CHECK(getpeername(connected, reinterpret_cast<sockaddr*>(&peer), &len) == 0);
  CHECK(IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr) && peer.sin6_port == htons(9));
}

// The stack says no: the kernel is not asked instead.
void datagram_refused() {
  const int fd = udp_socket();
  CHECK(connect_to(fd, kStack, 1) == -1 && errno == ECONNREFUSED);
  CHECK(connect_to(fd, kStack, 9) == 0 && is_hostlooms(fd));
}

void datagram_threads() {
  for (int i = 0; i < 20; ++i) {
    const int fd = udp_socket();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) threads.emplace_back([fd] { CHECK(send_to(fd, stack(9)) == 1); });
    for (std::thread& t : threads) t.join();
    CHECK(is_hostlooms(fd) && close(fd) == 0);
  }
}

void datagram_errors() {
  const int fd = udp_socket();
  CHECK(connect_to(fd, kStack, 9) == 0 && events_of(fd, 20'000) & POLLIN);
  char bytes[3][8]{};
  iovec v[3];
  mmsghdr m[3]{};
  for (int i = 0; i < 3; ++i) {
    v[i] = {bytes[i], sizeof bytes[i]};
    m[i].msg_hdr.msg_iov = &v[i];
    m[i].msg_hdr.msg_iovlen = 1;
  }
  CHECK(recvmmsg(fd, m, 3, MSG_WAITFORONE, nullptr) == 1 && m[0].msg_len == 4);
  CHECK(recvmmsg(fd, m, 3, MSG_WAITFORONE, nullptr) == -1 && errno == ECONNREFUSED);
  CHECK(recvmmsg(fd, m, 3, MSG_WAITFORONE, nullptr) == 1 && std::strcmp(bytes[0], "more") == 0);
}

// A file is one datagram.
void datagram_file() {
  const int fd = udp_socket();
  CHECK(connect_to(fd, kStack, 9) == 0);
  FILE* f = std::tmpfile();
  const std::string text(70'000, 'f');
  CHECK(std::fputs(text.c_str(), f) >= 0 && std::fflush(f) == 0);
  off_t at = 100;
  CHECK(sendfile(fd, fileno(f), &at, 60'000) == 60'000 && at == 60'100);
  CHECK(sendfile(fd, fileno(f), &at, 60'000) == 9'900 && at == 70'000);
  CHECK(sendfile(fd, fileno(f), &at, 60'000) == 0);
  at = 0;
  CHECK(sendfile(fd, fileno(f), &at, 70'000) == -1 && errno == EMSGSIZE && at == 0);
  CHECK(lseek(fileno(f), 10, SEEK_SET) == 10);
  CHECK(sendfile(fd, fileno(f), nullptr, 5) == 5 && lseek(fileno(f), 0, SEEK_CUR) == 15);
}

// No datagram is waited for, or sent.
void datagrams_of_nothing() {
  const int fd = udp_socket();
  CHECK(connect_to(fd, kStack, 9) == 0);
  char byte;
  iovec nothing{&byte, 0};
  CHECK(read(fd, &byte, 0) == 0 && readv(fd, &nothing, 1) == 0 && writev(fd, &nothing, 1) == 0);
  CHECK(recv(fd, &byte, 0, MSG_DONTWAIT) == -1 && errno == EAGAIN);
  CHECK(send(fd, "x", 1, MSG_OOB) == -1 && errno == EOPNOTSUPP);
  CHECK(write(fd, "", 0) == 0);
}

constexpr Scenario kScenarios[] = {
    {"datagram_names", datagram_names},     {"datagram_refused", datagram_refused},
    {"datagram_threads", datagram_threads}, {"datagram_errors", datagram_errors},
    {"datagram_file", datagram_file},       {"datagrams_of_nothing", datagrams_of_nothing},
};

}  // namespace

std::span<const Scenario> datagram_scenarios() { return kScenarios; }

}  // namespace loom::probe
