#include "vcl/thread_waiter.h"

#include <algorithm>
#include <cerrno>

#include "vcl/app_worker.h"

namespace loom::vcl {
namespace {

enum Source : uint32_t { kWake = 1, kQueue, kSocket, kKernel, kBells };

bool add(int epfd, int fd, uint32_t events, Source source) noexcept {
  epoll_event e{};
  e.events = events;
  e.data.u32 = source;
  return sys::epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e) == 0;
}

bool set_interest(int epfd, int op, int fd, uint32_t events) noexcept {
  epoll_event e{};
  e.events = events;
  e.data.u32 = kWake;
  return sys::epoll_ctl(epfd, op, fd, &e) == 0;
}

// Nobody reads it. A forked child's is the parent's.
int always_readable() noexcept {
  static std::atomic<int> place{-1};
  int fd = place.load(std::memory_order_acquire);
  if (fd >= 0) return fd;
  fd = sys::make_internal(sys::eventfd());
  if (fd < 0) return -1;
  const uint64_t one = 1;
  (void)!sys::write(fd, &one, sizeof one);
  int none = -1;
  if (place.compare_exchange_strong(none, fd, std::memory_order_acq_rel)) return fd;
  sys::close_internal(fd);
  return none;
}

}  // namespace

bool signals_restart() noexcept {
  for (int s = 1; s < NSIG; ++s) {
    struct sigaction a;
    if (sigaction(s, nullptr, &a) != 0) continue;
    const bool handled =
        (a.sa_flags & SA_SIGINFO) || (a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN);
    if (handled && !(a.sa_flags & SA_RESTART)) return false;
  }
  return true;
}

ThreadWaiter& ThreadWaiter::current() {
  static thread_local ThreadWaiter waiter;
  return waiter;
}

ThreadWaiter::~ThreadWaiter() {
  sys::close_internal(std::exchange(epfd_, -1));
  worker_ = nullptr;
}

void ThreadWaiter::forget() noexcept {
  sys::close_internal(std::exchange(epfd_, -1));
  kernel_epfd_ = queue_fd_ = socket_fd_ = bells_fd_ = -1;
  worker_ = nullptr;
  asleep_ = woken_ = false;
}

int ThreadWaiter::prepare(AppWorker& worker) {
  if (epfd_ >= 0 && worker_ == &worker && epoch_ == worker.epoch()) [[likely]]
    return 0;
  if (epfd_ < 0) {
    epfd_ = sys::make_internal(sys::epoll_create());
    if (epfd_ < 0 || (wake_fd_ = always_readable()) < 0 ||
        !set_interest(epfd_, EPOLL_CTL_ADD, wake_fd_, 0)) {
      const int e = errno;
      forget();
      return -e;
    }
  }
  // The kernel forgets closed descriptors by itself; these removals may fail.
  if (queue_fd_ >= 0) sys::epoll_ctl(epfd_, EPOLL_CTL_DEL, queue_fd_, nullptr);
  if (socket_fd_ >= 0) sys::epoll_ctl(epfd_, EPOLL_CTL_DEL, socket_fd_, nullptr);
  if (bells_fd_ >= 0) sys::epoll_ctl(epfd_, EPOLL_CTL_DEL, bells_fd_, nullptr);
  queue_fd_ = socket_fd_ = bells_fd_ = -1;
  worker_ = &worker;
  epoch_ = worker.epoch();
  if (const Attachment* a = worker.current()) {
    if (!add(epfd_, a->event_fd(), EPOLLIN | EPOLLEXCLUSIVE, kQueue) ||
        !add(epfd_, a->socket(), EPOLLHUP | EPOLLEXCLUSIVE, kSocket) ||
        !add(epfd_, worker.bells_fd(), EPOLLIN, kBells)) {
      const int e = errno;
      forget();
      return -e;
    }
    queue_fd_ = a->event_fd();
    socket_fd_ = a->socket();
    bells_fd_ = worker.bells_fd();
  }
  return 0;
}

void ThreadWaiter::wake() noexcept {
  if (spinning_) news_.store(true, std::memory_order_relaxed);
  if (!asleep_ || woken_) return;
  woken_ = true;
  (void)set_interest(epfd_, EPOLL_CTL_MOD, wake_fd_, EPOLLIN);
}

void ThreadWaiter::set_awake() noexcept {
  asleep_ = false;
  if (!std::exchange(woken_, false)) return;
  (void)set_interest(epfd_, EPOLL_CTL_MOD, wake_fd_, 0);
}

// Makes epfd_ watch `kernel_epfd` and no other set's.
bool ThreadWaiter::include(int kernel_epfd) {
  const uint64_t ended = sets_ended_.load();
  if (kernel_epfd == kernel_epfd_ && ended == seen_sets_ended_) [[likely]]
    return true;
  seen_sets_ended_ = ended;
  if (kernel_epfd_ >= 0) sys::epoll_ctl(epfd_, EPOLL_CTL_DEL, kernel_epfd_, nullptr);
  kernel_epfd_ = -1;
  if (kernel_epfd < 0) return true;
  if (!add(epfd_, kernel_epfd, EPOLLIN, kKernel) && errno != EEXIST) return false;
  kernel_epfd_ = kernel_epfd;
  return true;
}

ThreadWaiter::Woken ThreadWaiter::look() {
  epoll_event events[5];
  const int n = sys::epoll_look(epfd_, events, 5);
  Woken woken;
  for (int i = 0; i < n; ++i) {
    woken.queue |= events[i].data.u32 == kQueue;
    woken.bells |= events[i].data.u32 == kBells;
    woken.kernel |= events[i].data.u32 == kKernel;
    woken.detached |= events[i].data.u32 == kSocket;
  }
  return woken;
}

ThreadWaiter::Woken ThreadWaiter::sleep(int kernel_epfd, TimeNs deadline, const sigset_t* mask) {
  Woken woken;
  if (!include(kernel_epfd)) {
    woken.error = -errno;
    return woken;
  }
  epoll_event events[5];
  const int n = sys::hooks.epoll_pwait(epfd_, events, 5, sys::millis_until(deadline), mask);
  if (n < 0) {
    woken.error = -errno;
    return woken;
  }
  for (int i = 0; i < n; ++i) {
    woken.queue |= events[i].data.u32 == kQueue;
    woken.bells |= events[i].data.u32 == kBells;
    woken.kernel |= events[i].data.u32 == kKernel;
    woken.detached |= events[i].data.u32 == kSocket;
  }
  return woken;
}

ThreadWaiter::Woken ThreadWaiter::sleep(pollfd* fds, nfds_t n, TimeNs deadline,
                                        const sigset_t* mask) {
  Woken woken;
  if (!include(-1)) {
    woken.error = -errno;
    return woken;
  }
  fds[n] = {epfd_, POLLIN, 0};
  timespec left{};
  if (deadline != sys::kForever) {
    const TimeNs ns = std::max<TimeNs>(deadline - sys::now(), 0);
    left = {static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  }
  const int got = sys::hooks.ppoll(fds, n + 1, deadline == sys::kForever ? nullptr : &left, mask);
  if (got < 0) {
    woken.error = -errno;
    return woken;
  }
  if (fds[n].revents) {
    woken = look();
    woken.kernel = got > 1;
  } else {
    woken.kernel = got > 0;
  }
  return woken;
}

}  // namespace loom::vcl
