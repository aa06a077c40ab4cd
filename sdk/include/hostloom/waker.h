// Descriptors by which one thread or process wakes another.
#pragma once
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include <hostloom/unique_fd.h>

namespace loom {

// Between threads of ours: closed on exec, never waits. None: errno says why.
inline UniqueFd open_eventfd(unsigned initial = 0) noexcept {
  return UniqueFd(::eventfd(initial, EFD_CLOEXEC | EFD_NONBLOCK));
}

// Asked of the kernel, not of the file: poll() of a file of a user-space file system may wait.
inline bool is_eventfd(int fd) noexcept {
  char path[32], target[32] = {};
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return ::readlink(path, target, sizeof target - 1) > 0 &&
         std::strcmp(target, "anon_inode:[eventfd]") == 0;
}

// Wakes one process that the daemon does not trust: readable once it was rung. A socket pair of
// datagrams, of which only the sleeper gets `reader`. Whether a write may wait is a property of the
// open file, so the two sides must not share one, as of an eventfd; and a write to a pipe waits for
// whoever reads it just then, for as long as he cannot copy (docs/decisions/0008). Full, it need
// not be rung.
struct Waker {
  UniqueFd reader, writer;

  // Neither end: errno says why.
  static Waker open() noexcept {
    Waker w;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return w;
    w.reader = UniqueFd(ends[0]);
    w.writer = UniqueFd(ends[1]);
    // Nobody reads there: what the sleeper sent would stay.
    (void)::shutdown(ends[1], SHUT_RD);
    return w;
  }
  explicit operator bool() const noexcept { return static_cast<bool>(writer); }
  void ring() const noexcept { ring_at(writer.get(), "", 1); }
  // The same with a message, for a sleeper that reads words.
  static void ring_at(int writer, const void* message, std::size_t size) noexcept {
    (void)!::send(writer, message, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
};

}  // namespace loom
