// close, close_range, closefrom. Descriptors of the library's own survive a program that closes
// everything.
#include "ldp/close.h"

#include <linux/close_range.h>

#include <algorithm>
#include <vector>

#include "ldp/candidate.h"
#include "ldp/dup.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace loom::ldp {
namespace {

// The kernel's side of an epoll set is known by the number that was first; a copy takes its place.
void hand_over(EpollSet& set, int fd) noexcept {
  for (int i = 0; i < fds.end(); ++i) {
    if (fds.raw(i) != reinterpret_cast<uintptr_t>(static_cast<Object*>(&set))) continue;
    set.move_kernel_epfd(i);
    debug(2, "epoll fd %d lives on as %d", fd, i);
    return;
  }
}

}  // namespace

uintptr_t take_entry(int fd) {
  const uintptr_t entry = fds.take(fd);
  if (entry > ObjectTable::kLastMark) {
    auto* o = reinterpret_cast<Object*>(entry);  // with the table's reference
    if (o->kind() == Object::Kind::kEpollSet && copied_sets()) {
      auto& set = static_cast<EpollSet&>(*o);
      if (set.kernel_epfd() == fd) hand_over(set, fd);
    }
  }
  if (entry == ObjectTable::kCandidate) forget_candidate(fd);
  return entry;
}

void drop_entry(uintptr_t entry) {
  if (entry > ObjectTable::kLastMark) reinterpret_cast<Object*>(entry)->unref();
}

}  // namespace loom::ldp

namespace {

int kernel_close_range(unsigned first, unsigned last, int flags) {
  return syscall(SYS_close_range, first, last, flags) == 0 ? 0 : -errno;
}

int close_many(unsigned first, unsigned last, int flags) {
  if (first > last) return -EINVAL;
  const bool only_marks = flags & CLOSE_RANGE_CLOEXEC;
  if (only_marks || !same_process()) return kernel_close_range(first, last, flags);
  const unsigned end = static_cast<unsigned>(fds.end());
  std::vector<uintptr_t> entries;
  unsigned from = first;
  int outcome = 0;
  for (unsigned fd = first; fd < end && fd <= last; ++fd) {
    if (is_internal(static_cast<int>(fd))) {
      if (fd > from) outcome = std::min(outcome, kernel_close_range(from, fd - 1, flags));
      from = fd + 1;
    } else if (const uintptr_t entry = take_entry(static_cast<int>(fd));
               entry > ObjectTable::kLastMark) {
      entries.push_back(entry);
    }
  }
  if (from <= last) outcome = std::min(outcome, kernel_close_range(from, last, flags));
  for (const uintptr_t entry : entries) drop_entry(entry);
  return outcome;
}

}  // namespace

extern "C" {

int close(int fd) {
  if (fds.raw(fd) == ObjectTable::kNone || !same_process()) [[likely]]
    return libc().close(fd);
  const Errno keep;
  if (is_internal(fd)) return keep.status(-EBADF);
  const uintptr_t entry = take_entry(fd);
  const int outcome = libc().close(fd) == 0 ? 0 : -errno;
  drop_entry(entry);
  return keep.status(outcome);
}

int close_range(unsigned first, unsigned last, int flags) noexcept {
  const Errno keep;
  return keep.status(close_many(first, last, flags));
}

void closefrom(int low) noexcept {
  const Errno keep;
  keep.status(close_many(low < 0 ? 0 : static_cast<unsigned>(low), ~0u, 0));
}

}  // extern "C"
