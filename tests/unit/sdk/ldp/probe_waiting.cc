// poll, select and epoll, over sessions and what is the kernel's.
#include <fcntl.h>
#include <sys/select.h>

#include "probe.h"

namespace loom::probe {
namespace {

void mixed_epoll() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  const int set = epoll_create1(EPOLL_CLOEXEC);
  watch(set, s);
  watch(set, pipe_fds[0]);
  CHECK(next_ready(set, 20) == -1);
  put(pipe_fds[1], "p");
  CHECK(next_ready(set) == pipe_fds[0]);
  char byte;
  CHECK(read(pipe_fds[0], &byte, 1) == 1);
  put(c, "s");
  CHECK(next_ready(set) == s && next_ready(set) == s);
  CHECK(get(s, 1) == "s" && next_ready(set, 20) == -1);
  // The pipe has its turn although the session is always ready.
  put(c, "s");
  put(pipe_fds[1], "p");
  bool seen = false;
  for (int i = 0; i < 4; ++i) seen |= next_ready(set) == pipe_fds[0];
  CHECK(seen);
  CHECK(epoll_ctl(set, EPOLL_CTL_DEL, s, nullptr) == 0);
  CHECK(epoll_ctl(set, EPOLL_CTL_DEL, s, nullptr) == -1 && errno == ENOENT);
}

void mixed_poll() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  put(c, "s");
  CHECK(events_of(s, 20'000) == POLLIN);
  put(pipe_fds[1], "p");
  pollfd p[3] = {{pipe_fds[0], POLLIN, 0}, {s, POLLIN | POLLOUT, 0}, {-1, POLLIN, 0}};
  CHECK(poll(p, 3, 20'000) == 2 && p[0].revents == POLLIN && p[1].revents == (POLLIN | POLLOUT));
  fd_set in, out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(s, &in);
  FD_SET(c, &in);
  FD_SET(pipe_fds[0], &in);
  FD_SET(c, &out);
  CHECK(select(100, &in, &out, nullptr, nullptr) == 3);
  CHECK(FD_ISSET(s, &in) && !FD_ISSET(c, &in) && FD_ISSET(pipe_fds[0], &in) && FD_ISSET(c, &out));
  CHECK(get(s, 1) == "s");
  timeval tv{0, 20'000};
  FD_ZERO(&in);
  FD_SET(s, &in);
  CHECK(select(s + 1, &in, nullptr, nullptr, &tv) == 0 && !FD_ISSET(s, &in) && tv.tv_usec == 0);
}

void candidate_in_epoll() {
  const int l = listener(80), set = epoll_create1(0), c = tcp_socket(SOCK_NONBLOCK);
  watch(set, c, EPOLLOUT | EPOLLONESHOT);
  CHECK(next_ready(set) == c);  // as the kernel says of a socket that is not connected
  epoll_event e{};
  e.events = EPOLLOUT;
  e.data.fd = c;
  CHECK(epoll_ctl(set, EPOLL_CTL_MOD, c, &e) == 0);
  CHECK(connect_to(c, kStack, 80) == -1 && errno == EINPROGRESS);
  CHECK(next_ready(set) == c);
  int error = -1;
  socklen_t len = sizeof error;
  CHECK(getsockopt(c, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0);
  CHECK(fcntl(c, F_SETFL, 0) == 0);
  expect_talk(c, accept(l, nullptr, nullptr));
}

void epoll_number_again() {
  const auto [c, s] = connection();
  int pipe_fds[2], number = -1;
  CHECK(pipe(pipe_fds) == 0);
  for (int i = 0; i < 3; ++i) {
    const int set = epoll_create1(0);
    CHECK(number == -1 || set == number);
    number = set;
    watch(set, s);
    watch(set, pipe_fds[0]);
    const pid_t later = fork();
    if (later == 0) {
      usleep(50'000);
      CHECK(write(pipe_fds[1], "p", 1) == 1);
      _exit(0);
    }
    CHECK(next_ready(set) == pipe_fds[0]);  // while it sleeps
    char byte;
    CHECK(read(pipe_fds[0], &byte, 1) == 1);
    expect_exit_0(later);
    CHECK(close(set) == 0);
  }
  expect_talk(c, s);
}

void copied_epoll() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  const int set = epoll_create1(0);
  watch(set, s);
  watch(set, pipe_fds[0]);
  const int copy = dup(set);
  CHECK(close(set) == 0 && next_ready(copy, 10) == -1);
  put(pipe_fds[1], "p");
  CHECK(next_ready(copy) == pipe_fds[0]);
  put(c, "s");
  CHECK(events_of(s, 20'000) == POLLIN);
  bool seen = false;
  for (int i = 0; i < 4; ++i) seen |= next_ready(copy) == s;
  CHECK(seen);
}

constexpr Scenario kScenarios[] = {
    {"mixed_epoll", mixed_epoll},
    {"mixed_poll", mixed_poll},
    {"candidate_in_epoll", candidate_in_epoll},
    {"epoll_number_again", epoll_number_again},
    {"copied_epoll", copied_epoll},
};

}  // namespace

std::span<const Scenario> waiting_scenarios() { return kScenarios; }

}  // namespace loom::probe
