#include "net/neighbor/neighbor_news.h"

#include <mutex>

#include "graph/engine.h"

namespace loom {

void NeighborNewsQueue::watch(Net::NeighborEvent callback) {
  callback_ = callback ? std::make_shared<Net::NeighborEvent>(std::move(callback)) : nullptr;
  is_watched_.store(callback_ != nullptr, std::memory_order_relaxed);
}

bool NeighborNewsQueue::push(const NeighborListing& n) {
  {
    const std::lock_guard hold(lock_);
    if (waiting_.size() == kMost) return false;
    waiting_.push_back(n);
    if (waiting_.size() != 1) return true;  // control has been called already
  }
  engine_.post_to_control([self = shared_from_this()] { self->drain(); });
  return true;
}

void NeighborNewsQueue::drain() {
  std::vector<NeighborListing> news;
  {
    const std::lock_guard hold(lock_);
    news.swap(waiting_);
  }
  for (const NeighborListing& n : news)
    if (const auto callback = callback_) (*callback)(n);  // kept: it may end or replace itself
}

}  // namespace loom
