// Packets of one worker that found no room in the ring of an interface. They wait here, in order,
// and go out before any others: in front of what is sent next, when the worker polls the interface,
// and by a timer, as a memif has no way to say that there is room again. On that worker.
#pragma once
#include <vector>

#include <hostloom/worker.h>

namespace loom::memif {

struct Device;

struct Backlog {
  // Two rings of the usual size: an eighth of the usual pool. What does not fit is the caller's,
  // who counts and drops it.
  static constexpr uint32_t kMost = 2048;
  // A peer that takes nothing is looked at less and less often.
  static constexpr TimeNs kFirstLook = kTimerTick, kLastLook = 50 * kTimerTick;

  explicit Backlog(Device& d);
  bool is_empty() const noexcept { return n == 0; }
  // The oldest of them, as far as they lie one behind the other.
  std::span<Buffer* const> front() const noexcept;
  // Lets the oldest go; whose they are then is the caller's business.
  void pop(uint32_t count) noexcept;
  // Takes over as many as there is room for, and says how many.
  uint32_t push(std::span<Buffer* const> packets) noexcept;
  // Frees all, and says how many there were.
  uint32_t drop(Worker&) noexcept;
  // Has the timer look, unless there is nothing to wait for.
  void wait(Worker&, bool has_moved) noexcept;

  Device& device;
  Timer timer;
  TimeNs delay = kFirstLook;
  uint16_t queue = 0;          // tx queue of the worker
  uint32_t begin = 0, n = 0;   // in slots
  std::vector<Buffer*> slots;  // kMost
};

}  // namespace loom::memif
