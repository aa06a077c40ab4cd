// TimerWheel: the deadlines of one worker. Start, stop and expiry are O(1) and allocate nothing; a
// jump of the clock over hours costs no more than the timers it passes.
//
// Four levels of 256 slots, one digit of the tick number (base 256) each. A timer waits at the
// level of the highest digit in which its deadline differs from the current tick, in the slot of
// that digit of its deadline:
//
//   level 0  this very tick      up to  25.6 ms ahead
//   level 1  within 256 ticks            6.6 s
//   level 2  within 65536 ticks         28   min
//   level 3                            119   h       later ones are parked until that has passed
//
// When the current tick reaches the beginning of a slot above level 0, its timers are placed anew
// (cascaded), now lower. It follows that every used slot of a level lies after the current tick's
// own digit, that all of level n comes before all of level n + 1, and that one bitmap per level
// tells the next event without walking over empty ticks.
//
// Promises: a timer never fires early; it fires in the order of ticks, in no promised order within
// a tick; it fires in the first advance() at or after its deadline unless that call's bound on work
// was reached, and then in one of the next. Starting with a deadline now or past means the next
// tick.
//
// Thread: the worker's. No state is shared between wheels. The wheel never reads a clock.
//   cost  BM_TimerStartStop, BM_TimerTick
#pragma once
#include <array>
#include <cstddef>
#include <optional>

#include <hostloom/timer.h>
#include <hostloom/types.h>

namespace loom {

class TimerWheel {
 public:
  // now: the worker's clock, at or above 0.
  explicit TimerWheel(TimeNs now) noexcept;
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  // Running timers are left as they are: they must not be stopped or started after this.
  ~TimerWheel() = default;

  // Starts, or restarts if running. timer.fired must be set. The timer stays the caller's and must
  // not move or go away while it runs. Allowed in callbacks, for any timer.
  void start(Timer& timer, TimeNs deadline) noexcept;
  // No effect on a stopped timer. Allowed in callbacks, for any timer.
  void stop(Timer& timer) noexcept;
  // Stops all of them, whose memory may go then in any order. Not allowed in callbacks.
  void stop_all() noexcept;

  // Fires what is due at `now` (which may not go back; if it does, nothing happens), but at most
  // max_expirations timers, and cascades at most kCascadesPerExpiration times as many. Returns how
  // many fired. There is more to do if next_deadline() <= now afterwards. Not allowed in callbacks.
  std::size_t advance(Worker& worker, TimeNs now, std::size_t max_expirations) noexcept;

  // When advance() should be called next; empty if no timer runs. May be earlier than the first
  // deadline (a cascade is due, at most once per level), never later.
  std::optional<TimeNs> next_deadline() const noexcept;

  std::size_t size() const noexcept { return running_; }  // timers running

  // Cascading costs a tenth of a callback, so a crowd of far timers must not delay near ones.
  static constexpr std::size_t kCascadesPerExpiration = 16;

 private:
  static constexpr unsigned kLevels = 4, kDigitBits = 8, kSlots = 1u << kDigitBits;
  using Bitmap = std::array<uint64_t, kSlots / 64>;

  // A circular list whose head is a Timer that never fires.
  struct List {
    Timer head;
    List() noexcept { head.next = head.prev = &head; }
    bool is_empty() const noexcept { return head.next == &head; }
    void push_back(Timer& t) noexcept;
    Timer& pop_front() noexcept;         // not empty
    void take_all(List& from) noexcept;  // this one is empty
  };
  struct Event {
    uint64_t tick;
    unsigned level;  // kLevels: the parked timers
    unsigned slot;
  };

  static unsigned digit(uint64_t tick, unsigned level) noexcept {
    return (tick >> (level * kDigitBits)) & (kSlots - 1);
  }
  static void unlink(Timer& t) noexcept;
  void place(Timer& t) noexcept;
  void forget_slot_if_empty(Timer* head) noexcept;
  std::optional<Event> next_event() const noexcept;
  uint64_t end_of_top_level() const noexcept;  // when the parked timers are placed anew
  void reach(const Event& e) noexcept;

  uint64_t tick_;  // every timer due before it has fired or is in due_
  // All that next_event() could say is at or after it: until then advance() has nothing to do.
  uint64_t quiet_until_ = UINT64_MAX;
  uint64_t target_;  // the tick of the latest advance(); tick_ lags behind when work was left over
  std::size_t running_ = 0;
  bool advancing_ = false;
  List due_;       // taken from a slot of level 0, about to fire
  List cascades_;  // taken from a slot above, about to be placed anew
  List parked_;    // beyond the top level
  std::array<Bitmap, kLevels> used_{};
  std::array<std::array<List, kSlots>, kLevels> slots_;
};

}  // namespace loom
