// One received segment as tcp4-input and tcp6-input hand it to the state nodes: the fields of its
// header in host order, in Buffer::opaque. The buffer's data still starts at the TCP header.
#pragma once
#include <cstring>

#include <hostloom/buffer.h>
#include <hostloom/types.h>

namespace loom::tcp {

enum Flag : uint8_t { kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kUrg = 32 };
// Not of the wire: the segment's SYN was taken, what came with it goes on. Its window is not scaled
// (RFC 7323 section 2.2).
constexpr uint8_t kSynTaken = 0x80;

struct Segment {
  Seq seq;               // SEG.SEQ
  Seq ack;               // SEG.ACK, meaningful with kAck
  uint32_t payload = 0;  // bytes of text
  uint16_t window = 0;   // SEG.WND as on the wire, unscaled
  uint8_t flags = 0;
  uint8_t header_length = 0;  // bytes, 20..60

  bool has(uint8_t flag) const noexcept { return flags & flag; }
  // SEG.LEN: SYN and FIN occupy a sequence number each (RFC 9293 section 3.4).
  uint32_t length() const noexcept { return payload + has(kSyn) + has(kFin); }
  Seq end() const noexcept { return seq + length(); }
  void take_syn() noexcept {
    seq += 1;
    flags = static_cast<uint8_t>((flags & ~kSyn) | kSynTaken);
  }
};
static_assert(sizeof(Segment) <= sizeof(Buffer::opaque));

inline Segment segment_of(const Buffer& b) noexcept {
  Segment s;
  std::memcpy(static_cast<void*>(&s), b.opaque, sizeof s);
  return s;
}
inline void store_segment(Buffer& b, const Segment& s) noexcept {
  std::memcpy(b.opaque, static_cast<const void*>(&s), sizeof s);
}

}  // namespace loom::tcp
