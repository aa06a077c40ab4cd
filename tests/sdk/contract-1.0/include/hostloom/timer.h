// A timer of a worker's wheel. Intrusive: it lives inside the object that waits (a connection, a
// neighbour), so that starting and stopping allocate nothing. Thread: the worker that owns the
// object. The wheel is core/time/.
#pragma once
#include <hostloom/types.h>

namespace loom {

struct Worker;

struct Timer {
  // Called on the worker at or after the deadline, at most once per start. The timer is stopped by
  // then; the function may start it again or free the object that holds it.
  using Fired = void (*)(Worker&, Timer&) noexcept;

  Timer* next = nullptr;  // both null while stopped; the wheel's slots are circular lists
  Timer* prev = nullptr;
  Fired fired = nullptr;
  uint64_t deadline_tick = 0;  // in ticks of kTimerTick since the worker's clock 0

  bool is_running() const noexcept { return next != nullptr; }
};
static_assert(sizeof(Timer) == 32);

constexpr TimeNs kTimerTick = 100 * kMicrosecond;

// The object of type T whose member `member` is this timer: LOOM_TIMER_OWNER(Connection,
// delack_timer, t).
#define LOOM_TIMER_OWNER(T, member, timer) \
  (*reinterpret_cast<T*>(reinterpret_cast<std::byte*>(&(timer)) - offsetof(T, member)))

}  // namespace loom
