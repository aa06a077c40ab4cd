// epoll: each set is the kernel's own epoll fd, and the sessions beside it.
#include "ldp/candidate.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace {

int with_set(int epfd) {
  if (epfd < 0) return epfd;
  vcl::AppWorker* w = worker();
  if (!w) return epfd;  // without sessions the kernel's set is all
  EpollSet* set = w->new_epoll_set(epfd);
  if (!enter(epfd, set)) set->unref();
  return epfd;
}

int control_object(EpollSet& set, int op, int fd, Object& target, const epoll_event* event) {
  if (op == EPOLL_CTL_DEL) return set.remove(fd, target);
  if (!event) return -EFAULT;
  if (op == EPOLL_CTL_ADD) return set.add(fd, target, *event);
  return op == EPOLL_CTL_MOD ? set.modify(fd, target, *event) : -EINVAL;
}

int wait(int epfd, epoll_event* events, int n, TimeNs timeout, const sigset_t* mask, bool& ours) {
  const auto set = epoll_set_at(epfd);
  ours = static_cast<bool>(set);
  return ours ? set->wait(events, n, timeout, mask) : 0;
}

}  // namespace

extern "C" {

int epoll_create(int size) noexcept { return with_set(libc().epoll_create(size)); }
int epoll_create1(int flags) noexcept { return with_set(libc().epoll_create1(flags)); }

int epoll_ctl(int epfd, int op, int fd, epoll_event* event) noexcept {
  const auto set = epoll_set_at(epfd);
  if (!set) return libc().epoll_ctl(epfd, op, fd, event);
  const Errno keep;
  if (const Held<Object> target = fds.get(fd))
    return keep.status(control_object(*set, op, fd, *target, event));
  if (op == EPOLL_CTL_ADD) set->note_kernel_fds();
  if (libc().epoll_ctl(epfd, op, fd, event) != 0) return -1;
  if (is_candidate(fd)) set->note_candidate(fd, op, event);
  return keep.status(0);
}

int epoll_wait(int epfd, epoll_event* events, int n, int timeout_ms) {
  return epoll_pwait(epfd, events, n, timeout_ms, nullptr);
}

int epoll_pwait(int epfd, epoll_event* events, int n, int timeout_ms, const sigset_t* mask) {
  const Errno keep;
  bool ours;
  const TimeNs timeout = timeout_ms < 0 ? -1 : TimeNs{timeout_ms} * kMillisecond;
  const int outcome = wait(epfd, events, n, timeout, mask, ours);
  return ours ? keep.status(outcome) : libc().epoll_pwait(epfd, events, n, timeout_ms, mask);
}

int epoll_pwait2(int epfd, epoll_event* events, int n, const timespec* timeout,
                 const sigset_t* mask) {
  const Errno keep;
  TimeNs ns = -1;
  if (timeout) {
    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= kSecond)
      return keep.status(-EINVAL);
    ns = timeout->tv_sec * kSecond + timeout->tv_nsec;
  }
  bool ours;
  const int outcome = wait(epfd, events, n, ns, mask, ours);
  if (ours) return keep.status(outcome);
  return libc().epoll_pwait(epfd, events, n, vcl::sys::millis_until(vcl::sys::deadline_in(ns)),
                            mask);
}

}  // extern "C"
