#include "delay_line.h"

#include <algorithm>
#include <limits>

namespace loom::nsim {
namespace {

// Of one timer: what is due beyond that comes with the next tick, so that a backlog stops nothing.
constexpr uint32_t kMostAtOnce = 4 * kFrameSize;

// A packet that the device cuts takes as many places as there are packets in it. Most are none of
// those, and cost no division.
uint32_t places_of(const Buffer& b, uint32_t packet_size) noexcept {
  const uint32_t length = b.length();
  if (length < packet_size + (packet_size + 1) / 2) [[likely]]
    return 1;
  return (length + packet_size / 2) / packet_size;
}

}  // namespace

Fate DelayLine::offer(Worker& w, Buffer& b) noexcept {
  if (config_.places == 0) [[unlikely]]  // enabled by others before it is configured
    return kReordered;
  const uint64_t draw = chance_.next();
  if ((draw >> 32) < config_.drop_below) return kDropped;
  if ((draw & 0xffffffff) < config_.reorder_below) return kReordered;
  const uint32_t places = places_of(b, config_.packet_size);
  // An empty line takes any packet: else one that is longer than the line would never get through.
  if (n_ != 0 &&
      (n_ == config_.places || places > config_.places - std::min(places_used_, config_.places)))
    return kOverflow;
  const uint32_t at = head_ + n_ < config_.places ? head_ + n_ : head_ + n_ - config_.places;
  ring_[at] = {&b, w.now + config_.delay, places};
  places_used_ += places;
  __atomic_store_n(&n_, n_ + 1, __ATOMIC_RELAXED);
  return kDelayed;
}

Buffer* DelayLine::take() noexcept {
  const Waiting& first = ring_[head_];
  places_used_ -= first.places;
  Buffer* b = first.packet;
  head_ = head_ + 1 == config_.places ? 0 : head_ + 1;
  __atomic_store_n(&n_, n_ - 1, __ATOMIC_RELAXED);
  return b;
}

void DelayLine::release(Worker& w, TimeNs due_by, uint32_t most) noexcept {
  std::array<Buffer*, kFrameSize> out;
  NodeRuntime& rt = w.node_runtime(node_);
  while (most != 0 && n_ != 0 && ring_[head_].due <= due_by) {
    uint32_t n = 0;
    for (; n < out.size() && most != 0 && n_ != 0 && ring_[head_].due <= due_by; ++n, --most) {
      out[n] = take();
      out[n]->prefetch();  // it has been out of the cache for as long as the delay
    }
    rt.enqueue_all({out.data(), n}, kNextFeature);
  }
}

void DelayLine::on_timer(Worker& w, Timer& t) noexcept {
  DelayLine& line = LOOM_TIMER_OWNER(DelayLine, timer_, t);
  line.release(w, w.now, kMostAtOnce);
  line.watch(w);
}

std::unique_ptr<DelayLine::Waiting[]> DelayLine::restart(Worker& w, NodeId node,
                                                         const LineConfig& config,
                                                         std::unique_ptr<Waiting[]> ring) noexcept {
  w.timer_stop(timer_);
  node_ = node;
  release(w, std::numeric_limits<TimeNs>::max(), ~0u);
  config_ = config;
  chance_ = Chance(config.seed + w.index);
  head_ = 0;
  ring_.swap(ring);
  return ring;
}

void DelayLine::clear(Worker& w) noexcept {
  w.timer_stop(timer_);
  while (n_ != 0) w.free(take());
}

}  // namespace loom::nsim
