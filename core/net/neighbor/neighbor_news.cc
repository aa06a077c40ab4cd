#include "net/neighbor/neighbor_news.h"

#include <mutex>

#include "graph/engine.h"

namespace loom {

void NeighborNewsQueue::watch(Net::NeighborEvent callback) {
  callback_ = std::move(callback);
  is_watched_.store(static_cast<bool>(callback_), std::memory_order_relaxed);
}

void NeighborNewsQueue::push(const NeighborListing& n) {
  {
    const std::lock_guard hold(lock_);
    if (waiting_.size() == kMost) {
      n_lost_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    waiting_.push_back(n);
    if (waiting_.size() != 1) return;  // control has been called already
  }
  engine_.post_to_control([self = shared_from_this()] { self->drain(); });
}

void NeighborNewsQueue::drain() {
  std::vector<NeighborListing> news;
  {
    const std::lock_guard hold(lock_);
    news.swap(waiting_);
  }
  for (const NeighborListing& n : news)
    if (callback_) callback_(n);
}

}  // namespace loom
