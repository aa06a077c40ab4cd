// News of neighbours, from worker 0, which learns them, to whoever watches on the control thread.
//
// A peer decides how much there is to tell, so the queue is bounded: what does not fit is counted
// and lost. While nobody watches, news cost one load.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "hash/spin_lock.h"
#include "net/net.h"

namespace loom {

class NeighborNewsQueue : public std::enable_shared_from_this<NeighborNewsQueue> {
 public:
  static constexpr std::size_t kMost = 1024;

  explicit NeighborNewsQueue(Engine& engine) : engine_(engine) {}

  // Control. An empty callback: nobody watches any more. The callback itself may say so.
  void watch(Net::NeighborEvent callback);
  uint64_t n_lost() const noexcept { return n_lost_.load(std::memory_order_relaxed); }
  bool is_watched() const noexcept { return is_watched_.load(std::memory_order_relaxed); }

  // Worker 0: the neighbour's link-layer address has become known, or another one.
  void tell(const NeighborListing& n) {
    if (is_watched_.load(std::memory_order_relaxed)) [[unlikely]]
      push(n);
  }

 private:
  void push(const NeighborListing& n);
  void drain();  // control

  Engine& engine_;
  std::shared_ptr<const Net::NeighborEvent> callback_;  // control's; null: nobody watches
  std::atomic<bool> is_watched_{false};
  std::atomic<uint64_t> n_lost_{0};
  SpinLock lock_;
  std::vector<NeighborListing> waiting_;  // of both threads, under the lock
};

}  // namespace loom
