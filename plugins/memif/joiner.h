// What a receiver does in the pass that copies a packet out of its slot: it verifies the TCP or UDP
// checksum, and appends a TCP segment to the packet before when it goes on where that ended, so
// that the graph sees one packet for many.
#pragma once
#include <hostloom/checksum.h>
#include <hostloom/worker.h>

#include <array>

namespace loom::memif {

// The first bytes of a packet, copied: what is checked is what is used.
struct Head {
  // Drivers keep as many in the first segment.
  static constexpr uint32_t kSize = 128;

  uint32_t n = 0;  // of them; all of a shorter packet
  uint32_t l3 = 0, l4 = 0;
  uint32_t end = 0;  // of the TCP or UDP header
  bool is_ip6 = false, is_tcp = false;
  ChecksumSum pseudo = 0;
  alignas(8) std::byte bytes[kSize];

  template <class T>
  const T& at(uint32_t offset) const noexcept {
    return *reinterpret_cast<const T*>(bytes + offset);
  }
  const TcpHeader& tcp() const noexcept { return at<TcpHeader>(l4); }
  // True: `length` bytes are an IP packet, whole and without options, of TCP or UDP with a
  // checksum.
  bool parse(uint32_t length, bool is_ethernet) noexcept;

 private:
  bool parse_ip(uint32_t length) noexcept;
};

// Of one call and one ring: the packet that has come last. What it hands out is complete when it is
// gone.
class Joiner {
 public:
  // As tx-offload cuts at most, should the packet leave by a device that does not.
  static constexpr uint32_t kMostSegments = 128;

  explicit Joiner(Worker& w) noexcept : w_(w) {}
  Joiner(const Joiner&) = delete;
  ~Joiner() { close(); }

  enum class Came { kPacket, kJoined, kNoBuffers };
  // A packet of `n` bytes in one slot: `packet` when it is one of its own.
  Came take(const std::byte* from, uint32_t n, bool is_ethernet, Buffer*& packet) noexcept;
  // Nothing is appended to what has come so far.
  void close() noexcept;

 private:
  bool is_next(const Head&, uint32_t n) const noexcept;
  bool join(const Head&, const std::byte* from, uint32_t n) noexcept;
  Buffer* begin(const Head&, bool is_l4, const std::byte* from, uint32_t n) noexcept;
  void open(Buffer*, const Head&, uint32_t n) noexcept;

  Worker& w_;
  Buffer *first_ = nullptr, *last_ = nullptr;  // of the packet that goes on; null: none does
  Head head_;                                  // of its first segment
  uint32_t mss_ = 0, payload_ = 0, n_segments_ = 0;
};

}  // namespace loom::memif
