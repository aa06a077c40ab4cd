// Packets whose checksum, or whose segments, are the driver's to finish. Their headers go in front
// of payload that has been copied and summed.
#pragma once
#include <hostloom/buffer.h>
#include <hostloom/checksum.h>

#include <algorithm>

namespace loom::memif {

class Unfinished {
 public:
  static bool is(const Buffer& b) noexcept {
    return (b.flags & kBufferTxL4Checksum) != 0 || b.gso_size != 0;
  }
  // False: the headers are not where the packet says, or it is not to be cut like this.
  bool parse(Buffer& packet) noexcept;

  uint32_t header_size() const noexcept { return header_; }
  // Its header ends behind the first bytes, and is to be finished where it is: the packet is one
  // whose payload has that sum, and is finished then.
  bool is_far() const noexcept { return header_ > sizeof bytes_; }
  void finish(Buffer& packet, ChecksumSum payload) const noexcept;
  // The segment that is next: payload bytes; and all of its headers, given its payload's sum. Only
  // written to, never read: `to` may be a peer's.
  uint32_t size() const noexcept { return std::min(mss_, left_); }
  void write_headers(std::byte* to, ChecksumSum payload) const noexcept;
  // It has been sent.
  void next() noexcept;
  bool is_done() const noexcept { return left_ == 0; }
  // What has been sent goes from the packet: what is left is one to be sent like it.
  void drop_sent(Buffer& packet) const noexcept;

 private:
  bool parse_large(Buffer& packet) noexcept;
  void write_checksum(std::byte* headers, ChecksumSum) const noexcept;

  std::byte bytes_[kHeadroom];  // headers; of a large packet without what differs by segment
  uint32_t l3_ = 0, l4_ = 0, header_ = 0;   // bytes from the packet's beginning
  uint32_t mss_ = 0, left_ = 0, sent_ = 0;  // of payload
  ChecksumSum ip4_sum_ = 0, l4_sum_ = 0;    // of `bytes_`, and addresses
  bool is_large_ = false, is_tcp_ = false, is_ip6_ = false;
  // Of the segment that is next.
  uint8_t flags_ = 0;
  uint16_t id_ = 0;
  uint32_t seq_ = 0;
};

}  // namespace loom::memif
