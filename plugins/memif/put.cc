// Sending into a ring: one copy a packet, whatever it consists of. A packet that needs more slots
// than are free stays with the caller, and so do those behind it. A large TCP packet is cut, and
// checksums are finished, in the pass that copies: of one for which there is too little room, the
// segments go out for which there is.
//   cost  a descriptor, headers and a copy a segment; cursors and wake-up once a call
#include "copy_sum.h"
#include "memif_link.h"
#include "unfinished.h"

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
  explicit Source(const Buffer& b, uint32_t offset = 0) : b_(&b), at_(offset) {}
  // The caller knows that there are as many.
  void copy(std::byte* to, uint32_t n) noexcept {
    each(n, [&](const std::byte* from, uint32_t part) {
      std::memcpy(to, from, part);
      to += part;
    });
  }
  ChecksumSum copy_and_sum(std::byte* to, uint32_t n) noexcept {
    RunningSum sum;
    each(n, [&](const std::byte* from, uint32_t part) {
      sum.add(memif::copy_and_sum(to, from, part), part);
      to += part;
    });
    return sum.value();
  }
  // Of what is next, which stays.
  ChecksumSum sum(uint32_t n) const noexcept {
    RunningSum sum;
    Source(*this).each(n, [&](const std::byte* from, uint32_t part) {
      sum.add(checksum_add(0, from, part), part);
    });
    return sum.value();
  }

 private:
  template <class F>
  void each(uint32_t n, F&& fn) noexcept {
    while (n != 0) {
      const uint32_t part = std::min(n, b_->len - at_);
      LOOM_DCHECK(part != 0 || b_->next);
      fn(b_->data + at_, part);
      n -= part;
      at_ += part;
      if (at_ == b_->len && b_->next) {
        b_ = b_->next;
        at_ = 0;
      }
    }
  }

  const Buffer* b_;
  uint32_t at_;
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

// A packet, or a segment of one: headers that are made here, if any, and what is next in a chain.
struct Piece {
  std::span<const std::byte> headers;
  Source& rest;
  uint32_t n_rest;
  uint32_t length() const noexcept { return static_cast<uint32_t>(headers.size()) + n_rest; }
};

// Into `n` slots. Their room is read again, and may have become less in between.
Fault copy_piece(const Link& link, TxRing& r, Piece piece, uint32_t n) noexcept {
  for (uint32_t i = 0; i < n; ++i) {
    const auto slot = static_cast<uint16_t>(r.next + i);
    Place p;
    if (const Fault f = locate(link, r, slot, p); f != Fault::kNone) return f;
    const uint32_t part = std::min(piece.length(), p.capacity);
    const uint32_t made = std::min(part, static_cast<uint32_t>(piece.headers.size()));
    if (made != 0) {
      std::memcpy(p.at, piece.headers.data(), made);
      piece.headers = piece.headers.subspan(made);
    }
    piece.rest.copy(p.at + made, part - made);
    piece.n_rest -= part - made;
    r.write(slot, i + 1 < n ? kDescriptorNext : uint16_t{0}, part);
  }
  return piece.length() != 0 ? Fault::kLength : Fault::kNone;
}

// Usually all of a segment is in one slot, and its payload is summed while it is copied. `n`: slots
// that it was to take, and those it takes.
Fault copy_segment(const Link& link, TxRing& r, const Unfinished& u, Source& payload,
                   uint32_t& n) noexcept {
  const uint32_t size = u.size(), length = u.header_size() + size;
  Place p;
  if (const Fault f = locate(link, r, r.next, p); f != Fault::kNone) return f;
  if (p.capacity < length) {
    std::byte headers[kHeadroom];
    u.write_headers(headers, payload.sum(size));
    return copy_piece(link, r, {{headers, u.header_size()}, payload, size}, n);
  }
  u.write_headers(p.at, payload.copy_and_sum(p.at + u.header_size(), size));
  r.write(r.next, 0, length);
  n = 1;  // also if it was to be more: the room may have grown
  return Fault::kNone;
}

// A call of put.
struct Call {
  const Link& link;
  TxRing& r;
  uint32_t free;
  uint64_t most_bytes;
  Put done;

  enum Room { kThere, kNotYet, kNever };
  // Of `n` slots for `length` bytes. kNotYet also for a fault, which is noted.
  Room room(uint32_t length, uint32_t& n) noexcept {
    done.fault = slots_for(link, r, length, free, n);
    if (done.fault != Fault::kNone) return kNotYet;
    if (n <= free) return kThere;
    if (free < r.size()) return kNotYet;
    ++done.too_long;  // the whole ring is not enough
    return kNever;
  }
  // `n` slots have been filled, or were to be.
  bool fill(Fault f, uint32_t n, uint32_t length) noexcept {
    done.fault = f;
    if (f != Fault::kNone) return false;
    r.next = static_cast<uint16_t>(r.next + n);
    free -= n;
    done.bytes += length;
    return true;
  }

  // True: the packet is done with. Else some of it, or all, is left.
  bool put_whole(const Buffer& packet) noexcept {
    const uint32_t length = packet.length();
    uint32_t n = 0;
    if (const Room room_for = room(length, n); room_for != kThere) return room_for == kNever;
    Source source(packet);
    return fill(copy_piece(link, r, {{}, source, length}, n), n, length);
  }
  bool put_unfinished(Buffer& packet) noexcept {
    Unfinished u;
    if (!u.parse(packet)) [[unlikely]] {
      ++done.bad_headers;
      return true;
    }
    Source payload(packet, u.header_size());
    if (u.is_far()) [[unlikely]] {
      u.finish(packet, payload.sum(u.size()));
      return put_whole(packet);
    }
    do {
      const uint32_t length = u.header_size() + u.size();
      uint32_t n = 0;
      const Room room_for = room(length, n);
      if (room_for == kNever) return true;
      const Fault f = room_for == kThere ? copy_segment(link, r, u, payload, n) : done.fault;
      if (room_for == kNotYet || !fill(f, n, length)) {
        u.drop_sent(packet);
        return false;
      }
      u.next();
    } while (!u.is_done() && done.bytes < most_bytes);
    if (!u.is_done()) u.drop_sent(packet);
    return u.is_done();
  }
};

}  // namespace

Put put(const Link& link, TxRing& r, std::span<Buffer* const> packets,
        uint64_t most_bytes) noexcept {
  const uint16_t begin = r.next;
  Call call{link, r, r.free(), most_bytes, {}};
  Put& done = call.done;
  if (call.free > r.size()) [[unlikely]] {
    done.fault = Fault::kCursor;
    return done;
  }
  for (; done.n < packets.size() && done.bytes < most_bytes; ++done.n) {
    if (done.n + kPrefetchAhead < packets.size()) packets[done.n + kPrefetchAhead]->prefetch();
    Buffer& packet = *packets[done.n];
    if (!(Unfinished::is(packet) ? call.put_unfinished(packet) : call.put_whole(packet))) break;
  }
  if (r.next != begin) r.send();
  return done;
}

}  // namespace loom::memif
