// select and pselect, by way of poll.
#include <climits>
#include <vector>

#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/poll.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace {

// Which of poll's events each set stands for (Linux: fs/select.c's table).
constexpr short kIn = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR;
constexpr short kOut = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR;
constexpr short kExcept = POLLPRI;

bool has(const fd_set* set, int fd) noexcept {
  constexpr int kBits = 8 * sizeof(fd_mask);
  return set && (set->fds_bits[fd / kBits] >> (fd % kBits) & 1);
}
// The program may have bigger sets than fd_set.
void put(fd_set* set, int fd, bool on) noexcept {
  constexpr int kBits = 8 * sizeof(fd_mask);
  if (!set) return;
  const auto bit = static_cast<fd_mask>(1ul << (fd % kBits));
  if (on)
    set->fds_bits[fd / kBits] |= bit;
  else
    set->fds_bits[fd / kBits] &= ~bit;
}

bool concerns_objects(int n, const fd_set* in, const fd_set* out, const fd_set* except) noexcept {
  const int end = n < fds.end() ? n : fds.end();
  for (int fd = 0; fd < end; ++fd)
    if (fds.holds_object(fd) && (has(in, fd) || has(out, fd) || has(except, fd))) return true;
  return false;
}

int select_mixed(int n, fd_set* in, fd_set* out, fd_set* except, TimeNs timeout,
                 const sigset_t* mask) {
  static thread_local std::vector<pollfd> kept;
  std::vector<pollfd> all = std::move(kept);  // a handler that selects too finds an empty one
  all.clear();
  for (int fd = 0; fd < n; ++fd) {
    short events = 0;
    if (has(in, fd)) events |= POLLIN | POLLRDNORM;
    if (has(out, fd)) events |= POLLOUT | POLLWRNORM;
    if (has(except, fd)) events |= POLLPRI;
    // A session has no exceptional conditions.
    if (events == 0 || (events == POLLPRI && fds.holds_object(fd))) continue;
    all.push_back({fd, events, 0});
  }
  const int outcome = poll_mixed(all.data(), all.size(), timeout, mask);
  if (outcome < 0) return outcome;
  for (const pollfd& p : all)
    if (p.revents & POLLNVAL) return -EBADF;
  for (int fd = 0; fd < n; ++fd)  // except-only sessions are in no entry
    if (fds.holds_object(fd)) put(except, fd, false);
  int count = 0;
  for (const pollfd& p : all) {
    const auto settle = [&](fd_set* set, short events) {
      if (!has(set, p.fd)) return;
      put(set, p.fd, p.revents & events);
      count += (p.revents & events) != 0;
    };
    settle(in, kIn);
    settle(out, kOut);
    settle(except, kExcept);
  }
  kept = std::move(all);
  return count;
}

}  // namespace

extern "C" {

int select(int n, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
  if (n < 0 || !concerns_objects(n, in, out, except))
    return libc().select(n, in, out, except, timeout);
  const Errno keep;
  TimeNs ns = -1;
  if (timeout) {
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0) return keep.status(-EINVAL);
    ns = timeout->tv_sec * kSecond + timeout->tv_usec * kMicrosecond;
  }
  const TimeNs deadline = vcl::sys::deadline_in(ns);
  const int outcome = select_mixed(n, in, out, except, ns, nullptr);
  if (timeout) {  // Linux leaves the time that was left
    const TimeNs left = std::max<TimeNs>(deadline - vcl::sys::now(), 0);
    *timeout = {static_cast<time_t>(left / kSecond),
                static_cast<suseconds_t>(left % kSecond / kMicrosecond)};
  }
  return keep.status(outcome);
}

int pselect(int n, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout,
            const sigset_t* mask) {
  if (n < 0 || !concerns_objects(n, in, out, except))
    return libc().pselect(n, in, out, except, timeout, mask);
  const Errno keep;
  TimeNs ns = -1;
  if (timeout) {
    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= kSecond)
      return keep.status(-EINVAL);
    ns = timeout->tv_sec * kSecond + timeout->tv_nsec;
  }
  return keep.status(select_mixed(n, in, out, except, ns, mask));
}

}  // extern "C"
