// A packet that grows at its end, in buffers that are full but for the last. One worker, one
// packet; what is not taken away is freed.
#pragma once
#include <algorithm>
#include <cstring>
#include <utility>

#include <hostloom/worker.h>

namespace loom {

class BufferChain {
 public:
  explicit BufferChain(Worker& w) noexcept : w_(w) {}
  BufferChain(const BufferChain&) = delete;
  ~BufferChain() {
    if (first_) w_.free(first_);
  }
  uint32_t length() const noexcept { return length_; }
  const Buffer* first() const noexcept { return first_; }  // null before the first byte

  // Copies n bytes. False: the pool is empty, and some of them are missing.
  bool append(const std::byte* from, uint32_t n) noexcept {
    while (n != 0) {
      if (room_ == 0 && !grow()) [[unlikely]]
        return false;
      const uint32_t part = std::min(n, room_);
      std::memcpy(last_->data + last_->len, from, part);
      last_->len += part;
      room_ -= part;
      length_ += part;
      from += part;
      n -= part;
    }
    return true;
  }
  // The packet, which is the caller's; null without a byte. The chain is done with.
  Buffer* take() noexcept {
    Buffer* b = std::exchange(first_, nullptr);
    if (b) b->rest_len = length_ - b->len;
    return b;
  }

 private:
  bool grow() noexcept {
    Buffer* b = w_.alloc();
    if (!b) return false;
    (last_ ? last_->next : first_) = b;
    last_ = b;
    room_ = b->data_size;
    return true;
  }

  Worker& w_;
  Buffer *first_ = nullptr, *last_ = nullptr;
  uint32_t room_ = 0, length_ = 0;
};

}  // namespace loom
