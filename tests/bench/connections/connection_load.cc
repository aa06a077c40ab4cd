// TCP connections between two programs, as many a second as they can open: what `perf client
// nclients N bytes 1` does with a perf server, over plain sockets. A thread each, epoll, nothing
// waits.
//   connection_load serve ADDRESS PORT        a sink, until it is killed
//   connection_load open ADDRESS PORT N       prints connections a second, from the first connect
//   to
//                                             the last that succeeded
// Each sends a byte and ends; the other end ends behind it. At most kMostOpening are on their way
// at once, fewer than a listener's backlog: a SYN that is dropped would cost a second.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kBacklog = 4096, kMostOpening = 512, kEvents = 256;
char buffer[4096];

sockaddr_in address_of(const char* address, const char* port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (inet_pton(AF_INET, address, &at.sin_addr) != 1) std::exit(2);
  return at;
}

int tcp_socket() { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); }

void watch(int epoll, int fd, uint32_t events, int how = EPOLL_CTL_ADD) {
  epoll_event e{};
  e.events = events;
  e.data.fd = fd;
  if (epoll_ctl(epoll, how, fd, &e) != 0) std::exit(3);
}

// Whether the other end has ended, and with it the connection.
bool has_ended(int fd) {
  while (true) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n > 0) continue;
    if (n < 0 && errno == EAGAIN) return false;
    close(fd);
    return true;
  }
}

int serve(const sockaddr_in& at) {
  const int listener = tcp_socket(), on = 1, epoll = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      listen(listener, kBacklog) != 0)
    return 1;
  watch(epoll, listener, EPOLLIN);
  std::printf("listening\n");
  std::fflush(stdout);
  epoll_event events[kEvents];
  while (true) {
    const int n = epoll_wait(epoll, events, kEvents, -1);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd != listener) {
        has_ended(events[i].data.fd);
        continue;
      }
      int fd;
      while ((fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0)
        watch(epoll, fd, EPOLLIN);
    }
  }
}

int open_many(const sockaddr_in& at, int wanted) {
  const int epoll = epoll_create1(0);
  int begun = 0, connected = 0, ended = 0;
  const auto start = Clock::now();
  auto last = start;
  epoll_event events[kEvents];
  while (ended < wanted) {
    for (; begun < wanted && begun - connected < kMostOpening; ++begun) {
      const int fd = tcp_socket();
      if (fd < 0) return 4;
      if (connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 &&
          errno != EINPROGRESS)
        return 5;
      watch(epoll, fd, EPOLLOUT);
    }
    const int n = epoll_wait(epoll, events, kEvents, 10'000);
    if (n <= 0) return 6;
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (!(events[i].events & EPOLLOUT)) {
        ended += has_ended(fd);
        continue;
      }
      if (send(fd, buffer, 1, MSG_NOSIGNAL) != 1) return 7;
      ++connected;
      shutdown(fd, SHUT_WR);
      watch(epoll, fd, EPOLLIN, EPOLL_CTL_MOD);
      last = Clock::now();
    }
  }
  std::printf("%.0f\n", wanted / std::chrono::duration<double>(last - start).count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  const sockaddr_in at = address_of(argv[2], argv[3]);
  if (std::strcmp(argv[1], "serve") == 0) return serve(at);
  return argc == 5 ? open_many(at, std::atoi(argv[4])) : 2;
}
