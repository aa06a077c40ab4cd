#include "backlog.h"

#include <algorithm>

#include "device.h"

namespace loom::memif {
namespace {

uint32_t n_buffers_of(std::span<Buffer* const> packets) noexcept {
  uint32_t n = 0;
  for (const Buffer* p : packets)
    for (const Buffer* b = p; b; b = b->next) ++n;
  return n;
}

}  // namespace

uint32_t Kept::take(uint32_t wanted, std::atomic<uint32_t>& mine) noexcept {
  const uint64_t most = most_.load(std::memory_order_relaxed);
  uint32_t n = n_.load(std::memory_order_relaxed), got = 0;
  do {
    const uint64_t taken = uint64_t{n} + mine.load(std::memory_order_relaxed);
    got = static_cast<uint32_t>(std::min<uint64_t>(wanted, (most - std::min(most, taken)) / 2));
  } while (!n_.compare_exchange_weak(n, n + got, std::memory_order_relaxed));
  mine.fetch_add(got, std::memory_order_relaxed);
  return got;
}

void Kept::give(uint32_t buffers, std::atomic<uint32_t>& mine) noexcept {
  n_.fetch_sub(buffers, std::memory_order_relaxed);
  mine.fetch_sub(buffers, std::memory_order_relaxed);
}

Backlog::Backlog(Device& d, Kept& of_all) : device(d), kept(of_all), slots(kMost) {
  timer.fired = [](Worker& w, Timer& t) noexcept {
    Backlog& b = LOOM_TIMER_OWNER(Backlog, timer, t);
    (void)send_waiting(w, b.device);  // what is left has the timer started again
  };
}

std::span<Buffer* const> Backlog::front() const noexcept {
  return std::span(slots).subspan(begin, std::min(n, kMost - begin));
}

void Backlog::pop(Worker& w, uint32_t count) noexcept {
  const auto some = front().first(count);
  kept.give(n_buffers_of(some), device.n_kept);
  w.free(some);
  begin = wrapped(begin + count);
  n -= count;
  n_marked -= std::min(n_marked, count);
}

uint32_t Backlog::push(std::span<Buffer* const> packets) noexcept {
  if (packets.empty()) return 0;  // mostly: nothing that workers share is touched
  auto count = static_cast<uint32_t>(std::min<std::size_t>(packets.size(), kMost - n));
  const uint32_t wanted = n_buffers_of(packets.first(count));
  if (uint32_t got = kept.take(wanted, device.n_kept); got != wanted) {
    for (count = 0;; ++count) {
      const uint32_t one = n_buffers_of(packets.subspan(count, 1));
      if (one > got) break;
      got -= one;
    }
    kept.give(got, device.n_kept);
  }
  for (uint32_t i = 0; i < count; ++i) slots[wrapped(begin + n + i)] = packets[i];
  n += count;
  return count;
}

uint32_t Backlog::drop(Worker& w) noexcept {
  const uint32_t count = n;
  while (!is_empty()) pop(w, static_cast<uint32_t>(front().size()));
  w.timer_stop(timer);
  return count;
}

void Backlog::wait(Worker& w, bool has_moved) noexcept {
  if (is_empty()) return w.timer_stop(timer);
  if (n_marked == 0) {
    n_marked = n;
    marked_at = w.now;
  }
  if (has_moved) {
    delay = kFirstLook;
    moved_at = w.now;
  } else if (timer.is_running()) {
    return;
  } else {
    delay = std::min(2 * delay, kLastLook);
  }
  w.timer_start_in(timer, delay);
}

bool Backlog::gives_up(const Worker& w, bool has_moved, uint16_t cursor) noexcept {
  const bool takes_nothing = !has_moved && w.now - moved_at >= kPatience;
  const bool takes_too_little = n_marked != 0 && w.now - marked_at >= kMostWait;
  if (is_empty() || !(takes_nothing || takes_too_little)) return false;
  has_stopped = true;
  stopped_at = cursor;
  return true;
}

// After another handshake the cursor may be where it was; then there is room.
bool Backlog::keeps(uint16_t cursor, bool has_moved) noexcept {
  if (has_moved || cursor != stopped_at) has_stopped = false;
  return !has_stopped;
}

}  // namespace loom::memif
