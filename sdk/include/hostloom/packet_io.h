// For drivers that receive and send by a system call a packet: buffers that stand ready, how many
// packets a call reads, the segments of a packet that is sent. One worker at a time.
#pragma once
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <span>

#include <hostloom/worker.h>

namespace loom {

// The largest such packet: 64 KB of IP, an Ethernet header, a VLAN tag.
constexpr uint32_t kMaxKernelPacket = 65535 + 14 + 4;

// Buffers that stand ready for one packet of any size, and their iovecs: a packet takes the first
// few, and only those are replaced.
class RxBuffers {
 public:
  // At the smallest data size that works.
  static constexpr uint32_t kLeastDataSize = 512;
  static constexpr uint32_t kMaxSegments = (kMaxKernelPacket + kLeastDataSize - 1) / kLeastDataSize;

  // Replaces the buffers that the last packet took. False when the pool cannot: nothing is to be
  // read then.
  bool refill(Worker& w) noexcept { return is_full() || fill(w); }

  // For a read of `header` bytes and a packet, between refill and take.
  std::span<iovec> iov(void* header, std::size_t size) noexcept {
    iov_[0] = {header, size};
    return {iov_, 1 + n_segments_};
  }

  // The first buffers as a packet of `length` bytes, at most capacity().
  Buffer* take(uint32_t length) noexcept {
    Buffer* first = buffers_[0];
    first->len = std::min<uint32_t>(length, first->data_size);
    first->rest_len = length - first->len;
    Buffer* last = first;
    uint32_t used = 1;
    for (uint32_t left = first->rest_len; left != 0; ++used) {
      Buffer* b = buffers_[used];
      b->len = std::min<uint32_t>(left, b->data_size);
      left -= b->len;
      last->next = b;
      last = b;
    }
    n_missing_ = used;
    return first;
  }
  uint32_t capacity() const noexcept { return n_segments_ * buffers_[0]->data_size; }

  // What stands ready.
  std::span<Buffer* const> held() const noexcept {
    return {buffers_ + n_missing_, n_segments_ - n_missing_};
  }
  void free_all(Worker& w) noexcept {
    w.free(held());
    n_missing_ = n_segments_;
  }

 private:
  bool is_full() const noexcept { return n_missing_ == 0 && n_segments_ != 0; }

  bool fill(Worker& w) noexcept {
    if (n_segments_ == 0) [[unlikely]] {  // first call: how many are needed is now known
      Buffer* first = w.alloc();
      if (!first) return false;
      const uint32_t size = std::max<uint32_t>(first->data_size, 1);
      n_segments_ = std::min((kMaxKernelPacket + size - 1) / size, kMaxSegments);
      n_missing_ = n_segments_;
      w.free(first);
    }
    while (n_missing_ != 0) {
      // The missing ones are [0, n_missing_); filled from the end, so that a partial fill leaves a
      // state of the same form.
      if (n_missing_ == 1) {
        if (!(buffers_[0] = w.alloc())) return false;
        point_at(--n_missing_);
        return true;
      }
      const uint32_t want = std::min<uint32_t>(n_missing_, 32);
      const uint32_t got = w.alloc({buffers_ + n_missing_ - want, want});
      if (got < want) {
        w.free({buffers_ + n_missing_ - want, got});
        return false;
      }
      for (uint32_t i = n_missing_ - want; i < n_missing_; ++i) point_at(i);
      n_missing_ -= want;
    }
    return true;
  }
  void point_at(uint32_t i) noexcept {
    Buffer& b = *buffers_[i];
    iov_[1 + i] = {b.data, b.data_size};
  }

  uint32_t n_segments_ = 0;  // buffers that hold kMaxKernelPacket; 0 before the first call
  uint32_t n_missing_ = 0;   // the first n_missing_ of them are to be replaced
  Buffer* buffers_[kMaxSegments];
  iovec iov_[1 + kMaxSegments];  // [0] is the header's
};

// How many packets a call reads. The only way to learn that such a device is empty is a read that
// fails, a system call for nothing. So a call reads no more than its budget and returns without
// that read when the budget is used up; the caller comes again as long as packets were found. Each
// call that uses up its budget doubles it, a call that finds the device empty sets it to what was
// there: a request-response load pays for one failing read, not two, and a bulk load still gets
// full frames.
class RxBudget {
 public:
  // Stops a call early enough for the data to be in the L2 cache when it is copied on.
  static constexpr uint32_t kMaxBytes = 256 << 10;

  explicit RxBudget(uint32_t packets = 1) noexcept : packets_(packets) {}
  bool has_room(uint32_t n_packets, uint32_t n_bytes) const noexcept {
    return n_packets < packets_ && n_bytes < kMaxBytes;
  }
  void note(uint32_t found, bool is_empty) noexcept {
    if (is_empty)
      packets_ = std::clamp<uint32_t>(found, 1, kFrameSize);
    else if (found == packets_)
      packets_ = std::min<uint32_t>(2 * packets_, kFrameSize);
  }
  uint32_t packets() const noexcept { return packets_; }

 private:
  uint32_t packets_;
};

// A header and the segments of a packet, also those that lie in an application's fifo, where they
// are: the kernel's copy is the only one.
class TxSegments {
 public:
  static constexpr uint32_t kMost = 512;

  TxSegments(void* header, std::size_t size) noexcept { iov_[0] = {header, size}; }
  // False: there are more than kMost.
  bool gather(const Buffer& packet) noexcept {
    for (const Buffer* b = &packet; b; b = b->next) {
      if (b->len == 0) continue;
      if (n_ == iov_.size()) [[unlikely]]
        return false;
      iov_[n_++] = {b->data, b->len};
    }
    return true;
  }
  std::span<const iovec> iov() const noexcept { return {iov_.data(), n_}; }

 private:
  uint32_t n_ = 1;
  std::array<iovec, 1 + kMost> iov_;  // not initialised: only what is used is touched
};

}  // namespace loom
