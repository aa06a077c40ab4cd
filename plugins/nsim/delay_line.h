// The link that is simulated, one worker's share of it: packets wait here in the order in which
// they came, and leave when their time has come. Everything runs on the worker, but for what makes
// and replaces the ring.
//
// A timer wakes the worker when the oldest packet is due; with nothing waiting no timer runs.
#pragma once
#include <memory>

#include <hostloom/worker.h>

namespace loom::nsim {

// What becomes of a packet, and its counter. Chosen in this order: loss, overtaking, room.
enum Fate : uint16_t { kDelayed, kDropped, kReordered, kOverflow, kFateCount };

// A seeded generator (SplitMix64: Steele, Lea and Flood 2014): a run can be repeated.
class Chance {
 public:
  explicit Chance(uint64_t seed = 0) noexcept : state_(seed) {}
  uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

// How the line treats packets.
struct LineConfig {
  TimeNs delay = 0;
  uint32_t packet_size = 1500;  // bytes of one place
  uint32_t places = 0;          // that there are
  uint64_t drop_below = 0;      // of 2^32: how likely a loss is
  uint64_t reorder_below = 0;
  uint64_t seed = 0;
};

class DelayLine {
 public:
  DelayLine() noexcept { timer_.fired = on_timer; }
  DelayLine(const DelayLine&) = delete;
  DelayLine& operator=(const DelayLine&) = delete;

  // Decides about a packet. With kDelayed it has been taken, with anything else it is still the
  // caller's. After the last packet of a frame: watch().
  Fate offer(Worker&, Buffer&) noexcept;
  void watch(Worker& w) noexcept {
    if (n_ != 0 && !timer_.is_running()) w.timer_start(timer_, ring_[head_].due);
  }

  struct Waiting {
    Buffer* packet;
    TimeNs due;
    uint32_t places;
  };
  // Begins anew with another ring, of config.places entries; returns the old one, for the control
  // thread to free. What has waited in it goes on now, in order.
  std::unique_ptr<Waiting[]> restart(Worker&, NodeId, const LineConfig&,
                                     std::unique_ptr<Waiting[]>) noexcept;
  // Frees what waits: the daemon goes down.
  void clear(Worker&) noexcept;

  // Any thread.
  uint32_t n_waiting() const noexcept { return __atomic_load_n(&n_, __ATOMIC_RELAXED); }

 private:
  static void on_timer(Worker&, Timer&) noexcept;
  void release(Worker&, TimeNs due_by, uint32_t most) noexcept;
  Buffer* take() noexcept;

  Timer timer_;
  LineConfig config_;
  Chance chance_;
  NodeId node_ = kNoNode;
  std::unique_ptr<Waiting[]> ring_;
  uint32_t head_ = 0, n_ = 0;  // the oldest, and how many there are
  uint32_t places_used_ = 0;
};

}  // namespace loom::nsim
