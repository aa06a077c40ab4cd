#include "graph/fd_watches.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

namespace loom {

FdWatches::~FdWatches() {
  if (epoll_fd_ >= 0) close(epoll_fd_);
  if (wake_fd_ >= 0) close(wake_fd_);
}

Result<void> FdWatches::open() {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_fd_ < 0 || wake_fd_ < 0)
    return error(Status::kIo, std::string("epoll or eventfd: ") + std::strerror(errno));
  return add(wake_fd_, nullptr, nullptr);
}

Result<void> FdWatches::add(int fd, Readable fn, void* context) {
  if (fd < 0) return error(Status::kInvalid, "fd " + std::to_string(fd) + " cannot be watched");
  const auto at = static_cast<std::size_t>(fd);
  if (at >= by_fd_.size()) by_fd_.resize(at + 1);
  Watch& watch = by_fd_[at];
  if (watch.used) return error(Status::kExists, "fd " + std::to_string(fd) + " is watched already");
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u64 = uint64_t{watch.generation} << 32 | static_cast<uint32_t>(fd);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &e) != 0)
    return error(Status::kIo,
                 "fd " + std::to_string(fd) + " cannot be watched: " + std::strerror(errno));
  watch.fn = fn;
  watch.context = context;
  watch.used = true;
  if (fn) ++n_callbacks_;
  return {};
}

void FdWatches::remove(int fd) {
  const auto at = static_cast<std::size_t>(fd);
  if (fd < 0 || at >= by_fd_.size() || !by_fd_[at].used) return;
  Watch& watch = by_fd_[at];
  (void)epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);  // fails when fd was closed: gone as well
  if (watch.fn) --n_callbacks_;
  watch = Watch{.generation = watch.generation + 1};
}

void FdWatches::wake() noexcept {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the worker will wake.
  [[maybe_unused]] const auto n = write(wake_fd_, &one, sizeof one);
}

void FdWatches::wait(TimeNs timeout) noexcept {
  epoll_event events[kMaxEvents];
  int n = -1;
  if (timeout > 0 && has_pwait2_) {
    const timespec t{.tv_sec = timeout / kSecond, .tv_nsec = timeout % kSecond};
    n = epoll_pwait2(epoll_fd_, events, kMaxEvents, &t, nullptr);
    if (n < 0 && errno == ENOSYS) has_pwait2_ = false;
  }
  if (timeout <= 0 || !has_pwait2_) {
    const TimeNs ms = std::min<TimeNs>((timeout + kMillisecond - 1) / kMillisecond, INT_MAX);
    n = epoll_wait(epoll_fd_, events, kMaxEvents, timeout < 0 ? -1 : static_cast<int>(ms));
  }
  n_ready_ = 0;
  for (int i = 0; i < n; ++i) {
    const uint64_t data = events[i].data.u64;
    const auto fd = static_cast<int>(static_cast<uint32_t>(data));
    if (fd == wake_fd_) {
      uint64_t count;
      [[maybe_unused]] const auto r = read(wake_fd_, &count, sizeof count);
      continue;
    }
    ready_[n_ready_++] = {fd, static_cast<uint32_t>(data >> 32)};
  }
}

uint32_t FdWatches::dispatch(Worker& w) noexcept {
  uint32_t called = 0;
  for (int i = 0; i < n_ready_; ++i) {
    const Watch& watch = by_fd_[static_cast<std::size_t>(ready_[i].fd)];
    if (!watch.used || watch.generation != ready_[i].generation || !watch.fn) continue;
    ++called;
    watch.fn(w, ready_[i].fd, watch.context);  // may move by_fd_: `watch` is not used after this
  }
  n_ready_ = 0;
  return called;
}

}  // namespace loom
