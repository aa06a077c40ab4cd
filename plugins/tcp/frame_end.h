// Where packets end that a node does not pass on: each is counted once, good news are freed, the
// rest goes to node "drop" (next 0), where captures and traces see it.
#pragma once
#include <hostloom/worker.h>

namespace loom::tcp {

template <std::size_t kCounters>
class FrameEnd {
 public:
  FrameEnd(Worker& w, NodeRuntime& rt) noexcept : w_(w), rt_(rt) {}
  FrameEnd(const FrameEnd&) = delete;
  FrameEnd& operator=(const FrameEnd&) = delete;
  ~FrameEnd() {
    rt_.add_counters(counts_);
    if (n_done_ != 0) w_.free(std::span<Buffer* const>(done_.data(), n_done_));
    if (n_dropped_ != 0) rt_.enqueue_all({dropped_.data(), n_dropped_}, kNextDrop);
  }
  // Takes over `b`. At most kFrameSize times.
  void end(Buffer& b, uint16_t counter) noexcept {
    ++counts_[counter];
    if (rt_.info->counters[counter].severity == Severity::kInfo) [[likely]] {
      done_[n_done_++] = &b;
    } else {
      rt_.set_error(b, counter);
      dropped_[n_dropped_++] = &b;
    }
  }
  // Counts a packet that has another owner already.
  void gone(uint16_t counter) noexcept { ++counts_[counter]; }

 private:
  static constexpr uint16_t kNextDrop = 0;
  Worker& w_;
  NodeRuntime& rt_;
  std::array<uint32_t, kCounters> counts_{};
  std::array<Buffer*, kFrameSize> done_, dropped_;
  std::size_t n_done_ = 0, n_dropped_ = 0;
};

}  // namespace loom::tcp
