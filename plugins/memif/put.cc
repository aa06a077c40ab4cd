// Sending into a ring: one copy a packet, whatever it consists of. A packet that needs more slots
// than are free stays with the caller, and so do those behind it.
//   cost  a descriptor and a copy a packet; cursors and wake-up once a call
#include "memif_link.h"

namespace loom::memif {
namespace {

struct Place {
  std::byte* at = nullptr;
  uint32_t capacity = 0;
};

Fault locate(const Link& link, const TxRing& r, uint16_t slot, Place& p) noexcept {
  if (r.own.base) {
    p = {r.own_buffer(slot), r.own.size};
    return Fault::kNone;
  }
  const Descriptor d = r.read(slot);
  if (d.region >= link.regions.size()) return Fault::kRegion;
  p = {link.regions[d.region].at(d.offset, d.length), d.length};
  if (!p.at) return Fault::kRange;
  return d.length ? Fault::kNone : Fault::kLength;
}

// The bytes of a chain, one after the other.
class Source {
 public:
  explicit Source(const Buffer& b) : b_(&b) {}
  // The caller knows that there are as many.
  void copy(std::byte* to, uint32_t n) noexcept {
    while (n != 0) {
      const uint32_t part = std::min(n, b_->len - at_);
      LOOM_DCHECK(part != 0 || b_->next);
      std::memcpy(to, b_->data + at_, part);
      to += part;
      n -= part;
      at_ += part;
      if (at_ == b_->len && b_->next) {
        b_ = b_->next;
        at_ = 0;
      }
    }
  }

 private:
  const Buffer* b_;
  uint32_t at_ = 0;
};

// How many of `free` slots a packet needs; free + 1: they are too few.
Fault slots_for(const Link& link, const TxRing& r, uint32_t length, uint32_t free,
                uint32_t& n) noexcept {
  uint64_t room = 0;
  for (n = 0; room < length; ++n) {
    if (n == free) {
      ++n;
      break;
    }
    Place p;
    if (const Fault f = locate(link, r, static_cast<uint16_t>(r.next + n), p); f != Fault::kNone)
      return f;
    room += p.capacity;
  }
  return Fault::kNone;
}

// Into `n` slots. Their room is read again, and may have become less in between.
Fault copy_packet(const Link& link, TxRing& r, const Buffer& packet, uint32_t n) noexcept {
  uint32_t left = packet.length();
  Source source(packet);
  for (uint32_t i = 0; i < n; ++i) {
    const auto slot = static_cast<uint16_t>(r.next + i);
    Place p;
    if (const Fault f = locate(link, r, slot, p); f != Fault::kNone) return f;
    const uint32_t part = std::min(left, p.capacity);
    source.copy(p.at, part);
    left -= part;
    r.write(slot, i + 1 < n ? kDescriptorNext : uint16_t{0}, part);
  }
  if (left != 0) return Fault::kLength;
  r.next = static_cast<uint16_t>(r.next + n);
  return Fault::kNone;
}

}  // namespace

Put put(const Link& link, TxRing& r, std::span<Buffer* const> packets) noexcept {
  Put done;
  const uint16_t begin = r.next;
  uint32_t free = r.free();
  if (free > r.size()) [[unlikely]] {
    done.fault = Fault::kCursor;
    return done;
  }
  for (; done.n < packets.size(); ++done.n) {
    if (done.n + kPrefetchAhead < packets.size()) packets[done.n + kPrefetchAhead]->prefetch();
    const Buffer& packet = *packets[done.n];
    uint32_t n = 0;
    done.fault = slots_for(link, r, packet.length(), free, n);
    if (done.fault != Fault::kNone) break;
    if (n > free) {
      if (free < r.size()) break;
      ++done.too_long;  // the whole ring is not enough
      continue;
    }
    done.fault = copy_packet(link, r, packet, n);
    if (done.fault != Fault::kNone) break;
    free -= n;
  }
  if (r.next != begin) r.send();
  return done;
}

}  // namespace loom::memif
