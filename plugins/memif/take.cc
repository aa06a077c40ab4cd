// Receiving from a ring: one copy a packet, out of the peer's reach before anything looks at it.
//   cost  a descriptor, a buffer and a copy a packet; cursors once a call
#include <hostloom/wire.h>

#include "memif_link.h"

namespace loom::memif {
namespace {

constexpr uint16_t kPrefetchSlots = 4;

// A packet that grows; what is not taken away is freed.
class Chain {
 public:
  explicit Chain(Worker& w) : w_(w) {}
  Chain(const Chain&) = delete;
  ~Chain() {
    if (first_) w_.free(first_);
  }
  uint32_t length() const { return length_; }
  const Buffer* first() const { return first_; }
  // False: there are no buffers.
  bool append(const std::byte* from, uint32_t n) noexcept {
    while (n != 0) {
      if (room_ == 0 && !grow()) return false;
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
  Buffer* take() noexcept {
    Buffer* b = std::exchange(first_, nullptr);
    b->rest_len = length_ - b->len;
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

// Where the bytes of a slot are, as far as that can be.
Fault locate(const Link& link, const RxRing& r, uint16_t slot, const Descriptor& d,
             const std::byte*& at) noexcept {
  if (r.own.base) {
    at = r.own_buffer(slot);
    return d.length <= r.own.size ? Fault::kNone : Fault::kRange;
  }
  if (d.region >= link.regions.size()) return Fault::kRegion;
  at = link.regions[d.region].at(d.offset, d.length);
  return at ? Fault::kNone : Fault::kRange;
}

// The packet that begins `used` slots behind the cursor; moves `used` behind it. kNoBuffers and
// faults leave it anywhere.
RxCounter copy_packet(const Link& link, const RxRing& r, uint16_t ready, uint16_t& used,
                      Chain& chain) noexcept {
  const auto counter = [](Fault f) {
    return static_cast<RxCounter>(kFirstFault + static_cast<int>(f) - 1);
  };
  bool is_too_long = false;
  for (;;) {
    if (used == ready) return counter(Fault::kChain);
    const auto slot = static_cast<uint16_t>(r.next + used);
    const Descriptor d = r.read(slot);
    const std::byte* at = nullptr;
    if (const Fault f = locate(link, r, slot, d, at); f != Fault::kNone) return counter(f);
    ++used;
    is_too_long |= d.length > kMaxPacket - chain.length();
    if (!is_too_long && !chain.append(at, d.length)) return kNoBuffers;
    if (!(d.flags & kDescriptorNext)) break;
  }
  if (is_too_long) return kTooLong;
  if (chain.length() < (link.is_ethernet ? sizeof(EthernetHeader) : 1)) return kRunt;
  if (link.is_ethernet) return kReceived;
  const auto version = static_cast<uint8_t>(*chain.first()->data) >> 4;
  return version == 4 || version == 6 ? kReceived : kBadVersion;
}

// A hint only: what is read there later is checked then.
void prefetch(const Link& link, const RxRing& r, uint16_t slot) noexcept {
  const Descriptor d = r.read(slot);
  const std::byte* at = nullptr;
  if (locate(link, r, slot, d, at) == Fault::kNone) __builtin_prefetch(at);
}

}  // namespace

Taken take(Worker& w, const Link& link, RxRing& r, std::span<Buffer*> out,
           RxCounts& counts) noexcept {
  Taken taken;
  const uint16_t ready = r.ready();
  if (ready == 0) return taken;
  if (ready > r.size()) [[unlikely]] {
    ++counts[kFirstFault + static_cast<int>(Fault::kCursor) - 1];
    taken.fault = Fault::kCursor;
    return taken;
  }
  uint16_t used = 0;
  while (taken.n < out.size() && used < ready) {
    if (used + kPrefetchSlots < ready)
      prefetch(link, r, static_cast<uint16_t>(r.next + used + kPrefetchSlots));
    const uint16_t begin = used;
    Chain chain(w);
    const RxCounter c = copy_packet(link, r, ready, used, chain);
    ++counts[c];
    if (c == kReceived) [[likely]] {
      taken.bytes += chain.length();
      out[taken.n++] = chain.take();
      continue;
    }
    if (c < kNoBuffers) continue;  // dropped
    used = begin;
    if (c != kNoBuffers) taken.fault = static_cast<Fault>(c - kFirstFault + 1);
    break;
  }
  r.release(used);
  return taken;
}

}  // namespace loom::memif
