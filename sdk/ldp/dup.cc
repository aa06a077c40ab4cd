// dup, dup2, dup3. What was at the new number is closed, as the kernel closes its own side of it.
#include "ldp/dup.h"

#include "ldp/candidate.h"
#include "ldp/close.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace loom::ldp {
namespace {

std::atomic<bool> any_set_copied{false};

}  // namespace

bool copied_sets() noexcept { return any_set_copied.load(); }

void enter_copy(int from, int to) {
  if (is_candidate(from)) {
    copy_candidate(from, to);
  } else if (Held<Object> o = fds.get(from)) {
    Object* object = o.release();
    if (object->kind() == Object::Kind::kEpollSet) any_set_copied.store(true);
    if (!enter(to, object)) object->unref();
  }
}

}  // namespace loom::ldp

namespace {

bool concerns_tables(int from, int to) noexcept {
  return (fds.raw(from) != ObjectTable::kNone || fds.raw(to) != ObjectTable::kNone) &&
         same_process();
}

template <class Duplicate>
int duplicate_over(int from, int to, Duplicate&& duplicate) {
  const Errno keep;
  if (is_internal(from)) return keep.status(-EBADF);
  if (is_internal(to)) return keep.status(-EBUSY);
  // A failure must leave the target as it is, so find out first.
  if (libc().fcntl(from, F_GETFD) < 0) return keep.status(-EBADF);
  if (from == to) return duplicate();
  const uintptr_t entry = take_entry(to);
  const int outcome = duplicate() >= 0 ? to : -errno;
  if (outcome >= 0) {
    enter_copy(from, to);
    drop_entry(entry);
  } else if (entry != ObjectTable::kNone) {
    fds.set(to, entry);
  }
  return keep.status(outcome);
}

}  // namespace

extern "C" {

int dup(int fd) noexcept {
  const int copy = libc().dup(fd);
  if (copy >= 0 && fds.raw(fd) != ObjectTable::kNone && same_process()) enter_copy(fd, copy);
  return copy;
}

int dup2(int from, int to) noexcept {
  if (!concerns_tables(from, to)) return libc().dup2(from, to);
  return duplicate_over(from, to, [&] { return libc().dup2(from, to); });
}

int dup3(int from, int to, int flags) noexcept {
  if (!concerns_tables(from, to)) return libc().dup3(from, to, flags);
  return duplicate_over(from, to, [&] { return libc().dup3(from, to, flags); });
}

}  // extern "C"
