// Frames that wait for their nodes, oldest first. A frame is up to 256 packets for one node; a node
// has at most one frame that still takes packets. Used frames are kept for the next time: in steady
// state nothing is allocated. Thread: the worker that owns the queue.
#pragma once
#include <array>
#include <memory>
#include <vector>

#include <hostloom/node.h>

namespace loom {

struct Frame {
  Frame* next = nullptr;  // in the queue, or among the unused
  NodeId node = kNoNode;
  uint16_t n = 0;
  std::array<Buffer*, kFrameSize> packets;
  std::span<Buffer* const> used() const noexcept { return {packets.data(), n}; }
};

class FrameQueue {
 public:
  bool empty() const noexcept { return head_ == nullptr; }
  Frame* first() const noexcept { return head_; }
  Frame* last() const noexcept { return head_ ? last_ : nullptr; }
  // An empty frame at the end of the queue. Allocates when more frames than ever before are under
  // way; each holds at least one buffer of the pool, which bounds their number.
  Frame* push(NodeId node) noexcept {
    Frame* f = unused_;
    if (f) [[likely]] {
      unused_ = f->next;
    } else {
      owned_.push_back(std::make_unique_for_overwrite<Frame>());
      f = owned_.back().get();
    }
    f->next = nullptr;
    f->node = node;
    f->n = 0;
    *tail_ = f;
    tail_ = &f->next;
    last_ = f;
    return f;
  }
  Frame* pop() noexcept {
    Frame* f = head_;
    head_ = f->next;
    if (!head_) tail_ = &head_;
    return f;
  }
  void recycle(Frame* f) noexcept {
    f->next = unused_;
    unused_ = f;
  }

 private:
  Frame* head_ = nullptr;
  Frame** tail_ = &head_;
  Frame* last_ = nullptr;
  Frame* unused_ = nullptr;
  std::vector<std::unique_ptr<Frame>> owned_;
};

}  // namespace loom
