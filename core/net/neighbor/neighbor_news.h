// News of neighbours, from worker 0, which learns them, to whoever watches on the control thread.
//
// A peer decides how much there is to tell, so the queue is bounded: what does not fit is lost, and
// the neighbour table counts it ("news-lost"). While nobody watches, news cost one load.
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
  bool is_watched() const noexcept { return is_watched_.load(std::memory_order_relaxed); }

  // Worker 0: the neighbour's link-layer address has become known, or another one. False: there is
  // somebody to tell, but no room.
  bool tell(const NeighborListing& n) {
    return !is_watched_.load(std::memory_order_relaxed) || push(n);
  }

 private:
  bool push(const NeighborListing& n);
  void drain();  // control

  Engine& engine_;
  std::shared_ptr<const Net::NeighborEvent> callback_;  // control's; null: nobody watches
  std::atomic<bool> is_watched_{false};
  SpinLock lock_;
  std::vector<NeighborListing> waiting_;  // of both threads, under the lock
};

}  // namespace loom
