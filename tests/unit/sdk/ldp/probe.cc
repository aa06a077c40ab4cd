// One scenario of the socket interface per run, by the name in argv[1]. Exit status 0 = as it
// should.
#include "probe.h"

#include <arpa/inet.h>
#include <sys/wait.h>

#include <cstring>

namespace loom::probe {
namespace {

sockaddr_in name_of(const char* address, uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  inet_pton(AF_INET, address, &in.sin_addr);
  return in;
}

}  // namespace

int bind_to(int fd, const char* address, uint16_t port) {
  const sockaddr_in in = name_of(address, port);
  return bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in);
}
int connect_to(int fd, const char* address, uint16_t port) {
  const sockaddr_in in = name_of(address, port);
  return connect(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in);
}
uint16_t port_of(int fd) {
  sockaddr_in in{};
  socklen_t len = sizeof in;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&in), &len) == 0);
  return ntohs(in.sin_port);
}
int tcp_socket(int flags) {
  const int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  CHECK(fd >= 0);
  return fd;
}
int listener(uint16_t port) {
  const int fd = tcp_socket();
  CHECK(bind_to(fd, kStack, port) == 0 && listen(fd, 8) == 0);
  return fd;
}
std::pair<int, int> connection(uint16_t port) {
  const int l = listener(port), c = tcp_socket();
  CHECK(connect_to(c, kStack, port) == 0);
  const int s = accept(l, nullptr, nullptr);
  CHECK(s >= 0 && close(l) == 0);
  return {c, s};
}
void put(int fd, const std::string& text) {
  CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}
std::string get(int fd, size_t n) {
  std::string text(n, '\0');
  const ssize_t got = recv(fd, text.data(), n, MSG_WAITALL);
  CHECK(got >= 0);
  text.resize(static_cast<size_t>(got));
  return text;
}
void expect_talk(int a, int b) {
  put(a, "there");
  CHECK(get(b, 5) == "there");
  put(b, "back");
  CHECK(get(a, 4) == "back");
}
int events_of(int fd, int timeout_ms, int events) {
  pollfd p{fd, static_cast<short>(events), 0};
  CHECK(poll(&p, 1, timeout_ms) >= 0);
  return p.revents;
}
void watch(int set, int fd, uint32_t events) {
  epoll_event e{};
  e.events = events;
  e.data.fd = fd;
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) == 0);
}
int next_ready(int set, int timeout_ms) {
  epoll_event e{};
  const int n = epoll_wait(set, &e, 1, timeout_ms);
  CHECK(n >= 0);
  return n == 1 ? e.data.fd : -1;
}
void expect_exit_0(pid_t child) {
  int status = -1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}
int option(int fd, int level, int name) {
  int value = -1;
  socklen_t len = sizeof value;
  return getsockopt(fd, level, name, &value, &len) == 0 ? value : -errno;
}
int set(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

}  // namespace loom::probe

int main(int argc, char** argv) {
  using namespace loom::probe;
  for (const auto scenarios : {connection_scenarios(), data_scenarios(), datagram_scenarios(),
                               descriptor_scenarios(), option_scenarios(), waiting_scenarios()})
    for (const Scenario& s : scenarios) {
      if (argc != 2 || std::strcmp(argv[1], s.name) != 0) continue;
      s.run();
      return 0;
    }
  std::fprintf(stderr, "no such scenario\n");
  return 2;
}
