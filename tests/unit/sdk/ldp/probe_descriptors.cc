// Numbers and processes: duplicates, closing, fork.
#include <fcntl.h>
#include <sys/wait.h>

#include "probe.h"

namespace loom::probe {
namespace {

void duplicates() {
  const auto [c, s] = connection();
  const int copy = dup(c), high = fcntl(c, F_DUPFD_CLOEXEC, 100);
  CHECK(copy >= 0 && high >= 100 && fcntl(high, F_GETFD) == FD_CLOEXEC);
  CHECK(close(c) == 0);
  expect_talk(copy, s);
  CHECK(close(copy) == 0);
  expect_talk(high, s);
  CHECK(close(high) == 0);
  CHECK(get(s, 1).empty());  // the last close has ended it
}

void replaced_number() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  CHECK(dup2(pipe_fds[0], c) == c);  // ends the session, and c is a pipe now
  CHECK(get(s, 1).empty());
  put(pipe_fds[1], "p");
  char byte;
  CHECK(read(c, &byte, 1) == 1 && byte == 'p');
  CHECK(dup2(s, c) == c && close(s) == 0);
  CHECK(recv(c, &byte, 1, 0) == 0);
  CHECK(dup2(999, c) == -1 && errno == EBADF && recv(c, &byte, 1, 0) == 0);
}

void close_everything() {
  const auto [c, s] = connection();
  CHECK(events_of(s, 10) == 0);  // so that the library has descriptors of its own for waiting
  const int highest = s > c ? s : c;
  CHECK(close_range(static_cast<unsigned>(highest) + 1, ~0u, 0) == 0);
  for (int fd = highest + 1; fd < 70'000; ++fd) close(fd);
  expect_talk(c, s);
  CHECK(events_of(s, 10) == 0);
  CHECK(close_range(static_cast<unsigned>(c), static_cast<unsigned>(c), 0) == 0);
  CHECK(get(s, 1).empty());
}

void forked() {
  const int l = listener(80);
  const pid_t server = fork();
  if (server == 0) {  // the child accepts, the parent does not
    const int s = accept(l, nullptr, nullptr);
    CHECK(get(s, 5) == "there");
    put(s, "back");
    CHECK(get(s, 1).empty());
    _exit(0);
  }
  CHECK(close(l) == 0);
  const int c = tcp_socket();
  CHECK(connect_to(c, kStack, 80) == 0);
  put(c, "there");
  CHECK(get(c, 4) == "back");
  const pid_t other = fork();
  if (other == 0) {
    close(c);  // is not the connection's end
    _exit(0);
  }
  expect_exit_0(other);
  CHECK(close(c) == 0);
  expect_exit_0(server);
}

void vforked() {
  const auto [c, s] = connection();
  const int end = c, null = STDIN_FILENO;
  const pid_t child = vfork();
  if (child == 0) {  // what programs do between vfork and exec
    close(end);
    dup2(null, s);
    close_range(3, ~0u, 0);
    execlp("true", "true", nullptr);
    _exit(1);
  }
  expect_exit_0(child);
  expect_talk(c, s);
}

constexpr Scenario kScenarios[] = {
    {"duplicates", duplicates},
    {"replaced_number", replaced_number},
    {"close_everything", close_everything},
    {"forked", forked},
    {"vforked", vforked},
};

}  // namespace

std::span<const Scenario> descriptor_scenarios() { return kScenarios; }

}  // namespace loom::probe
