// The descriptor by which the daemon wakes a process that it does not trust. Private to
// core/session/.
#pragma once
#include <sys/socket.h>

#include <hostloom/unique_fd.h>

namespace loom::session {

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
  void ring() const noexcept { (void)!::send(writer.get(), "", 1, MSG_DONTWAIT | MSG_NOSIGNAL); }
};

}  // namespace loom::session
