#include "time/timer_wheel.h"

#include <algorithm>
#include <bit>

#include <hostloom/check.h>

namespace loom {
namespace {

// The first tick at or after t, so that no timer fires early. No overflow for any t.
uint64_t tick_at_or_after(TimeNs t) noexcept {
  if (t <= 0) return 0;
  return static_cast<uint64_t>(t / kTimerTick + (t % kTimerTick != 0));
}

uint64_t tick_at_or_before(TimeNs t) noexcept {
  return t <= 0 ? 0 : static_cast<uint64_t>(t / kTimerTick);
}

// The first set bit after bit `after`, if any.
template <std::size_t N>
std::optional<unsigned> next_bit(const std::array<uint64_t, N>& bits, unsigned after) noexcept {
  const unsigned first = after + 1;
  for (std::size_t w = first / 64; w < N; ++w) {
    const uint64_t mask = w == first / 64 ? ~0ull << (first % 64) : ~0ull;
    if (const uint64_t found = bits[w] & mask)
      return static_cast<unsigned>(w * 64) + static_cast<unsigned>(std::countr_zero(found));
  }
  return std::nullopt;
}

}  // namespace

void TimerWheel::List::push_back(Timer& t) noexcept {
  t.prev = head.prev;
  t.next = &head;
  head.prev->next = &t;
  head.prev = &t;
}

Timer& TimerWheel::List::pop_front() noexcept {
  Timer& t = *head.next;
  unlink(t);
  return t;
}

void TimerWheel::List::take_all(List& from) noexcept {
  if (from.is_empty()) return;
  head.next = from.head.next;
  head.prev = from.head.prev;
  head.next->prev = head.prev->next = &head;
  from.head.next = from.head.prev = &from.head;
}

void TimerWheel::unlink(Timer& t) noexcept {
  t.prev->next = t.next;
  t.next->prev = t.prev;
  t.next = t.prev = nullptr;
}

TimerWheel::TimerWheel(TimeNs now) noexcept
    : tick_(tick_at_or_before(now)), target_(tick_at_or_before(now)) {}

void TimerWheel::start(Timer& t, TimeNs deadline) noexcept {
  LOOM_DCHECK(t.fired != nullptr);
  stop(t);
  // Not before the next tick: a callback that restarts its timer for "now" must not keep advance()
  // busy, also not when the clock jumped and advance() is still catching up.
  t.deadline_tick = std::max(tick_at_or_after(deadline), target_ + 1);
  place(t);
  ++running_;
}

void TimerWheel::stop(Timer& t) noexcept {
  if (!t.is_running()) return;
  Timer* const next = t.next;
  const bool was_last = next == t.prev;  // then it is the head of the list
  unlink(t);
  --running_;
  if (was_last) forget_slot_if_empty(next);
}

void TimerWheel::stop_all() noexcept {
  const auto empty = [](List& list) {
    while (!list.is_empty()) list.pop_front();
  };
  for (List* list : {&due_, &cascades_, &parked_}) empty(*list);
  for (auto& level : slots_)
    for (List& list : level) empty(list);
  used_ = {};
  running_ = 0;
  quiet_until_ = UINT64_MAX;
}

// Heads lie in slots_, or are due_, cascades_ or parked_, which have no bit.
void TimerWheel::forget_slot_if_empty(Timer* head) noexcept {
  const auto begin = reinterpret_cast<uintptr_t>(&slots_);
  const auto at = reinterpret_cast<uintptr_t>(head);
  if (at < begin || at >= begin + sizeof slots_) return;
  const std::size_t i = (at - begin) / sizeof(List);
  const std::size_t slot = i % kSlots;
  used_[i / kSlots][slot / 64] &= ~(1ull << (slot % 64));
}

void TimerWheel::place(Timer& t) noexcept {
  const uint64_t differs = t.deadline_tick ^ tick_;
  if (differs == 0) return due_.push_back(t);  // cascaded at its very deadline
  const unsigned level = (63 - static_cast<unsigned>(std::countl_zero(differs))) / kDigitBits;
  if (level >= kLevels) {
    quiet_until_ = std::min(quiet_until_, end_of_top_level());
    return parked_.push_back(t);
  }
  const unsigned shift = level * kDigitBits;
  quiet_until_ = std::min(quiet_until_, t.deadline_tick >> shift << shift);
  const unsigned slot = digit(t.deadline_tick, level);
  slots_[level][slot].push_back(t);
  used_[level][slot / 64] |= 1ull << (slot % 64);
}

// The tick at which the first used slot begins. Lower levels come before higher ones.
std::optional<TimerWheel::Event> TimerWheel::next_event() const noexcept {
  for (unsigned level = 0; level < kLevels; ++level) {
    if (const auto slot = next_bit(used_[level], digit(tick_, level))) {
      const unsigned shift = level * kDigitBits;
      const uint64_t above = tick_ >> (shift + kDigitBits) << (shift + kDigitBits);
      return Event{above | uint64_t{*slot} << shift, level, *slot};
    }
  }
  if (parked_.is_empty()) return std::nullopt;
  return Event{end_of_top_level(), kLevels, 0};
}

uint64_t TimerWheel::end_of_top_level() const noexcept {
  constexpr unsigned kSpan = kLevels * kDigitBits;
  return ((tick_ >> kSpan) + 1) << kSpan;
}

// Makes the event's tick the current one and takes the slot's timers out of it, so that what
// callbacks start and stop cannot disturb the walk over them.
void TimerWheel::reach(const Event& e) noexcept {
  tick_ = e.tick;
  if (e.level == kLevels) return cascades_.take_all(parked_);
  (e.level == 0 ? due_ : cascades_).take_all(slots_[e.level][e.slot]);
  used_[e.level][e.slot / 64] &= ~(1ull << (e.slot % 64));
}

std::size_t TimerWheel::advance(Worker& worker, TimeNs now, std::size_t max_expirations) noexcept {
  LOOM_CHECK(!advancing_);
  target_ = std::max(target_, tick_at_or_before(now));
  if (target_ < quiet_until_) [[likely]] {
    tick_ = target_;
    return 0;
  }
  advancing_ = true;
  quiet_until_ = 0;
  std::size_t n_fired = 0;
  std::size_t n_cascaded = 0;
  const std::size_t max_cascades = max_expirations * kCascadesPerExpiration;
  for (;;) {
    if (!cascades_.is_empty()) {
      if (n_cascaded++ == max_cascades) break;
      place(cascades_.pop_front());
    } else if (!due_.is_empty()) {
      if (n_fired == max_expirations) break;
      ++n_fired;
      --running_;
      Timer& t = due_.pop_front();
      t.fired(worker, t);  // t may be gone afterwards
    } else if (const auto e = next_event(); e && e->tick <= target_) {
      reach(*e);
    } else {
      tick_ = target_;
      quiet_until_ = e ? e->tick : UINT64_MAX;
      break;
    }
  }
  advancing_ = false;
  return n_fired;
}

std::optional<TimeNs> TimerWheel::next_deadline() const noexcept {
  uint64_t tick = tick_;
  if (due_.is_empty() && cascades_.is_empty()) {
    const auto e = next_event();
    if (!e) return std::nullopt;
    tick = e->tick;
  }
  constexpr uint64_t kLastTick = INT64_MAX / kTimerTick;
  return static_cast<TimeNs>(std::min(tick, kLastTick)) * kTimerTick;
}

}  // namespace loom
