// A tick for what the kernel, a device or a peer gives no news of. Off, it costs nothing: a daemon
// that has nothing to wait for is not woken. Control thread.
#pragma once
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstdint>

#include <hostloom/host.h>
#include <hostloom/unique_fd.h>

namespace loom {

class DriverTimer {
 public:
  using Fn = void (*)(void* context);
  // period_ns: below one second. on_tick may call set().
  DriverTimer(Host& host, long period_ns, Fn on_tick, void* context) noexcept
      : host_(host), period_ns_(period_ns), on_tick_(on_tick), context_(context) {}
  DriverTimer(const DriverTimer&) = delete;
  ~DriverTimer() { close(); }

  // On or off. False: the kernel has no timer left, and it stays as it was.
  bool set(bool is_on) noexcept {
    if (is_on == is_on_) return true;
    if (!open()) return false;
    itimerspec t{};
    if (is_on) t.it_value.tv_nsec = t.it_interval.tv_nsec = period_ns_;
    if (::timerfd_settime(fd_.get(), 0, &t, nullptr) != 0) return false;
    is_on_ = is_on;
    return true;
  }
  // Takes what set() needs. For one that is to be had when descriptors are short. False: as set().
  bool open() noexcept {
    if (watch_) return true;
    fd_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (!fd_) return false;
    watch_ = host_.watch_fd(
        fd_.get(),
        [](void* self) {
          auto& t = *static_cast<DriverTimer*>(self);
          uint64_t n;
          if (::read(t.fd_.get(), &n, sizeof n) == sizeof n) t.on_tick_(t.context_);
        },
        this);
    return watch_ != 0;
  }
  bool is_on() const noexcept { return is_on_; }
  // For one that must be off before the host is gone.
  void close() noexcept {
    if (watch_) host_.unwatch_fd(watch_);
    watch_ = 0;
    fd_ = UniqueFd();
    is_on_ = false;
  }

 private:
  Host& host_;
  const long period_ns_;
  const Fn on_tick_;
  void* const context_;
  UniqueFd fd_;
  uint64_t watch_ = 0;
  bool is_on_ = false;
};

}  // namespace loom
