// Receiving from a ring: one copy a packet, out of the peer's reach before anything looks at it.
// A chain is measured before any of it is copied: what is dropped for its length costs its
// descriptors. What lies in one slot is verified, and joined to the packet before, while it is
// copied (joiner.h).
//   cost  a descriptor and a copy a packet, a buffer or a part of one; cursors once a call
#include <hostloom/buffer_chain.h>
#include <hostloom/wire.h>

#include "joiner.h"
#include "memif_link.h"

namespace loom::memif {
namespace {

constexpr uint16_t kPrefetchSlots = 4;

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

// A packet's slots behind the cursor, before anything of it is copied.
struct Extent {
  uint16_t slots = 0;
  uint32_t bytes = 0;  // kMaxPacket + 1: more than that
  const std::byte* first = nullptr;
  uint32_t n_first = 0;
};

Fault measure(const Link& link, const RxRing& r, uint16_t begin, uint16_t ready,
              Extent& e) noexcept {
  for (;;) {
    if (begin + e.slots == ready) return Fault::kChain;
    const auto slot = static_cast<uint16_t>(r.next + begin + e.slots);
    const Descriptor d = r.read(slot);
    const std::byte* at = nullptr;
    if (const Fault f = locate(link, r, slot, d, at); f != Fault::kNone) return f;
    if (e.slots++ == 0) e.first = at, e.n_first = d.length;
    e.bytes = static_cast<uint32_t>(
        std::min<uint64_t>(uint64_t{e.bytes} + d.length, uint64_t{kMaxPacket} + 1));
    if (!(d.flags & kDescriptorNext)) return Fault::kNone;
  }
}

bool is_ip(const Buffer& b) noexcept {
  const auto version = static_cast<uint8_t>(*b.data) >> 4;
  return version == 4 || version == 6;
}

constexpr RxCounter counter_of(Fault f) noexcept {
  return static_cast<RxCounter>(kFirstFault + static_cast<int>(f) - 1);
}

// What came of a packet.
struct Arrival {
  Buffer* packet = nullptr;  // null: none of its own
  uint32_t bytes = 0;        // that were copied
};

// Copies a packet of at most kMaxPacket bytes in several slots. The descriptors behind the first
// are read again, and may have become others since: then the chain is none.
RxCounter copy(Worker& w, const Link& link, const RxRing& r, uint16_t begin, const Extent& e,
               Arrival& a) noexcept {
  BufferChain chain(w);
  const auto fill = [&] {
    if (!chain.append(e.first, e.n_first)) return kNoBuffers;
    for (uint16_t i = 1; i < e.slots; ++i) {
      const auto slot = static_cast<uint16_t>(r.next + begin + i);
      const Descriptor d = r.read(slot);
      const std::byte* at = nullptr;
      if (const Fault f = locate(link, r, slot, d, at); f != Fault::kNone) return counter_of(f);
      if (d.length > e.bytes - chain.length()) return counter_of(Fault::kChain);
      if (!chain.append(at, d.length)) return kNoBuffers;
    }
    return chain.length() == e.bytes ? kReceived : counter_of(Fault::kChain);
  };
  const RxCounter c = fill();
  a.bytes = chain.length();
  if (c == kReceived) a.packet = chain.take();
  return c;
}

RxCounter copy(Joiner& joiner, const Link& link, const Extent& e, Arrival& a) noexcept {
  switch (joiner.take(e.first, e.bytes, link.is_ethernet, a.packet)) {
    case Joiner::Came::kNoBuffers:
      return kNoBuffers;
    case Joiner::Came::kJoined:
      a.bytes = e.bytes;
      return kJoined;
    default:
      a.bytes = e.bytes;
      return kReceived;
  }
}

// The packet that begins `used` slots behind the cursor; moves `used` behind it. kNoBuffers and
// faults leave it where it was.
RxCounter take_packet(Worker& w, Joiner& joiner, const Link& link, const RxRing& r, uint16_t ready,
                      uint16_t& used, RxWork& work, Arrival& a) noexcept {
  Extent e;
  if (const Fault f = measure(link, r, used, ready, e); f != Fault::kNone) return counter_of(f);
  RxCounter c = kReceived;
  if (e.bytes > kMaxPacket) {
    c = kTooLong;
  } else if (e.bytes < (link.is_ethernet ? sizeof(EthernetHeader) : 1)) {
    c = kRunt;
  } else if (e.slots == 1) {
    c = copy(joiner, link, e, a);
  } else {
    joiner.close();
    c = copy(w, link, r, used, e, a);
  }
  if (c == kReceived && !link.is_ethernet && !is_ip(*a.packet)) {
    w.free(std::exchange(a.packet, nullptr));
    c = kBadVersion;
  }
  work.pay(e.slots, a.bytes);
  if (c < kNoBuffers) used = static_cast<uint16_t>(used + e.slots);
  return c;
}

// A hint only: what is read there later is checked then.
void prefetch(const Link& link, const RxRing& r, uint16_t slot) noexcept {
  const Descriptor d = r.read(slot);
  const std::byte* at = nullptr;
  if (locate(link, r, slot, d, at) == Fault::kNone) __builtin_prefetch(at);
}

}  // namespace

Taken take(Worker& w, const Link& link, RxRing& r, std::span<Buffer*> out, RxWork& work,
           RxCounts& counts) noexcept {
  Taken taken;
  const uint16_t ready = r.ready();
  if (ready == 0) return taken;
  if (ready > r.size()) [[unlikely]] {
    ++counts[counter_of(Fault::kCursor)];
    taken.fault = Fault::kCursor;
    return taken;
  }
  uint16_t used = 0;
  Joiner joiner(w);
  while (taken.n < out.size() && used < ready && work.is_left()) {
    if (used + kPrefetchSlots < ready)
      prefetch(link, r, static_cast<uint16_t>(r.next + used + kPrefetchSlots));
    Arrival a;
    const RxCounter c = take_packet(w, joiner, link, r, ready, used, work, a);
    ++counts[c];
    if (c == kReceived || c == kJoined) [[likely]] {
      taken.bytes += a.bytes;
      if (a.packet) out[taken.n++] = a.packet;
    } else if (c == kNoBuffers) {
      work.packets = 0;
    } else if (c >= kFirstFault) {
      taken.fault = static_cast<Fault>(c - kFirstFault + 1);
      break;
    }
  }
  r.release(used);
  return taken;
}

}  // namespace loom::memif
