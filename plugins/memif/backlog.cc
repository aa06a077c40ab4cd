#include "backlog.h"

#include <algorithm>

#include "device.h"

namespace loom::memif {

Backlog::Backlog(Device& d) : device(d), slots(kMost) {
  timer.fired = [](Worker& w, Timer& t) noexcept {
    Backlog& b = LOOM_TIMER_OWNER(Backlog, timer, t);
    send_waiting(w, b.device);
  };
}

std::span<Buffer* const> Backlog::front() const noexcept {
  return std::span(slots).subspan(begin, std::min(n, kMost - begin));
}

void Backlog::pop(uint32_t count) noexcept {
  begin = (begin + count) % kMost;
  n -= count;
}

uint32_t Backlog::push(std::span<Buffer* const> packets) noexcept {
  const auto count = static_cast<uint32_t>(std::min<std::size_t>(packets.size(), kMost - n));
  for (uint32_t i = 0; i < count; ++i) slots[(begin + n + i) % kMost] = packets[i];
  n += count;
  return count;
}

uint32_t Backlog::drop(Worker& w) noexcept {
  const uint32_t count = n;
  while (!is_empty()) {
    const auto some = front();
    w.free(some);
    pop(static_cast<uint32_t>(some.size()));
  }
  w.timer_stop(timer);
  return count;
}

void Backlog::wait(Worker& w, bool has_moved) noexcept {
  if (is_empty()) return w.timer_stop(timer);
  if (has_moved)
    delay = kFirstLook;
  else if (timer.is_running())
    return;
  else
    delay = std::min(2 * delay, kLastLook);
  w.timer_start_in(timer, delay);
}

}  // namespace loom::memif
