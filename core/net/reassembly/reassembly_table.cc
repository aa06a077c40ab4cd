#include "net/reassembly/reassembly_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "buffer/chain.h"

namespace loom {
namespace {

constexpr uint32_t kHeaderReach = 128;  // of a packet, in its first segment (Buffer::peek)

Fragment about(const Buffer& b) noexcept {
  Fragment f;
  std::memcpy(&f, b.opaque, sizeof f);
  return f;
}
void note(Buffer& b, const Fragment& f) noexcept { std::memcpy(b.opaque, &f, sizeof f); }
uint32_t end_of(const Fragment& f) noexcept { return f.offset + f.length; }

// RFC 3168 section 5.3. `seen`: bit n for codepoint n.
constexpr uint8_t kNotCapable = 0, kCongested = 3;
bool has(uint8_t seen, uint8_t codepoint) noexcept { return seen >> codepoint & 1; }
bool is_mixed(uint8_t seen) noexcept { return has(seen, kNotCapable) && has(seen, kCongested); }
uint8_t ecn_of(uint8_t seen, uint8_t first) noexcept {
  if (has(seen, kCongested)) return kCongested;
  return has(seen, kNotCapable) ? kNotCapable : first;
}

Buffer* last_segment(Buffer* b) noexcept {
  while (b->next) b = b->next;
  return b;
}

// Whether both say the same of the same bytes of their datagram.
bool has_same_payload(const Buffer& a, const Fragment& in_a, const Buffer& b,
                      const Fragment& in_b) noexcept {
  std::array<std::byte, 512> x, y;
  for (uint32_t done = 0; done < in_a.length;) {
    const uint32_t n = std::min<uint32_t>(in_a.length - done, x.size());
    if (chain_copy_out(a, in_a.strip + done, {x.data(), n}) != n ||
        chain_copy_out(b, in_b.strip + done, {y.data(), n}) != n ||
        std::memcmp(x.data(), y.data(), n) != 0)
      return false;
    done += n;
  }
  return true;
}

// Takes `n` bytes of headers, which may lie in several segments, from the front of a chain. Returns
// what is left of it.
Buffer* strip(Worker& w, Buffer* first, uint32_t n) noexcept {
  while (first->next && first->len <= n) {
    n -= first->len;
    Buffer* rest = first->next;
    first->next = nullptr;
    first->rest_len = 0;
    w.free(first);
    first = rest;
  }
  first->advance(n);
  return first;
}

// Moves bytes forward until the first segment has as many as headers may take.
void pull_up(Worker& w, Buffer& first) noexcept {
  while (first.len < kHeaderReach && first.next) {
    Buffer* from = first.next;
    const uint32_t n = std::min({kHeaderReach - first.len, from->len, first.tailroom()});
    if (n == 0 && from->len != 0) return;
    std::memcpy(first.append(n), from->data, n);
    from->advance(n);
    first.rest_len -= n;
    if (from->len != 0) return;
    first.next = from->next;
    from->next = nullptr;
    w.free(from);
  }
}

}  // namespace

ReassemblyTable::ReassemblyTable(const ReassemblyLimits& limits, const HashSecret& secret,
                                 TimedOut timed_out, Count count)
    : limits_(limits),
      secret_(secret),
      timed_out_(timed_out),
      count_(count),
      datagrams_(std::make_unique_for_overwrite<Datagram[]>(limits.datagrams)),
      buckets_(std::make_unique<Index[]>(std::bit_ceil(limits.datagrams * 2))),
      mask_(std::bit_ceil(limits.datagrams * 2) - 1),
      clock_{.timer = {}, .table = this} {
  LOOM_CHECK(limits.datagrams != 0 && limits.datagrams < 0x8000);
  clock_.timer.fired = [](Worker& w, Timer& t) noexcept {
    LOOM_TIMER_OWNER(Clock, timer, t).table->expire(w);
  };
}

ReassemblyTable::~ReassemblyTable() { LOOM_DCHECK(n_datagrams_ == 0); }

ReassemblyTable::Index* ReassemblyTable::bucket_of(const FragmentKey& key) noexcept {
  return &buckets_[keyed_hash(key, secret_) & mask_];
}

ReassemblyTable::Index ReassemblyTable::find(const FragmentKey& key) noexcept {
  Index i = *bucket_of(key);
  while (i != 0 && at(i).key != key) i = at(i).next_in_bucket;
  return i;
}

ReassemblyTable::Index ReassemblyTable::open(Worker& w, const FragmentKey& key) {
  if (n_datagrams_ == limits_.datagrams) {
    drop_fragments(w, at(oldest_), kEvicted);
    remove(w, oldest_);
  }
  Index i = free_;
  if (i != 0)
    free_ = at(i).next_in_bucket;
  else
    i = ++n_used_;
  Index* const bucket = bucket_of(key);
  at(i) = {.key = key,
           .first = nullptr,
           .last = nullptr,
           .total = 0,
           .have = 0,
           .n_fragments = 0,
           .n_buffers = 0,
           .deadline = w.now + limits_.time,
           .ecn = 0,
           .is_given_up = false,
           .next_in_bucket = *bucket,
           .older = youngest_,
           .younger = 0};
  *bucket = i;
  (youngest_ != 0 ? at(youngest_).younger : oldest_) = i;
  youngest_ = i;
  ++n_datagrams_;
  if (n_datagrams_ == 1) set_clock(w);
  return i;
}

// It holds nothing any more.
void ReassemblyTable::remove(Worker& w, Index i) {
  Datagram& d = at(i);
  Index* link = bucket_of(d.key);
  while (*link != i) link = &at(*link).next_in_bucket;
  *link = d.next_in_bucket;
  (d.older != 0 ? at(d.older).younger : oldest_) = d.younger;
  (d.younger != 0 ? at(d.younger).older : youngest_) = d.older;
  d.next_in_bucket = free_;
  free_ = i;
  if (--n_datagrams_ == 0) w.timer_stop(clock_.timer);
}

void ReassemblyTable::drop_fragments(Worker& w, Datagram& d, Fate fate) {
  if (d.n_fragments != 0) count_(w, fate, d.n_fragments);
  for (Buffer* b = d.first; b;) {
    Buffer* const next = about(*b).next;
    w.free(b);
    b = next;
  }
  n_buffers_ -= d.n_buffers;
  d.first = d.last = nullptr;
  d.n_fragments = d.n_buffers = 0;
}

ReassemblyTable::Fate ReassemblyTable::give_up(Worker& w, Index i, Fate fate) {
  drop_fragments(w, at(i), fate);
  at(i).is_given_up = true;
  if (!limits_.remembers_given_up) remove(w, i);
  return fate;
}

// Frees the oldest others that hold any until `buffers` more fit.
void ReassemblyTable::make_room(Worker& w, Index keep, uint32_t buffers) {
  for (Index i = oldest_; i != 0 && n_buffers_ + buffers > limits_.buffers;) {
    const Index younger = at(i).younger;
    if (i != keep && at(i).n_buffers != 0) {
      drop_fragments(w, at(i), kEvicted);
      remove(w, i);
    }
    i = younger;
  }
}

ReassemblyTable::Fate ReassemblyTable::find_place(const Datagram& d, const Buffer& b,
                                                  const Fragment& f,
                                                  Neighbors& place) const noexcept {
  const uint32_t end = end_of(f);
  if (f.is_last) {
    if (d.total != 0 && d.total != end) return kContradiction;
    if (d.last && end_of(about(*d.last)) > end) return kContradiction;
  } else if (d.total != 0 && end > d.total) {
    return kContradiction;
  }
  // In order, as they mostly come, or behind the last one that begins before it.
  if (d.last && about(*d.last).offset <= f.offset)
    place.before = d.last;
  else
    for (Buffer* i = d.first; i && about(*i).offset <= f.offset; i = about(*i).next)
      place.before = i;
  place.after = place.before ? about(*place.before).next : d.first;
  if (place.before) {
    const Fragment other = about(*place.before);
    if (other.offset == f.offset && other.length == f.length && other.is_last == f.is_last)
      return has_same_payload(*place.before, other, b, f) ? kDuplicate : kOverlap;
    if (end_of(other) > f.offset) return kOverlap;
  }
  return place.after && about(*place.after).offset < end ? kOverlap : kHeld;
}

void ReassemblyTable::insert(Datagram& d, Buffer* b, const Fragment& f, const Neighbors& place) {
  Fragment mine = f;
  mine.next = place.after;
  note(*b, mine);
  if (place.before) {
    Fragment other = about(*place.before);
    other.next = b;
    note(*place.before, other);
  } else {
    d.first = b;
  }
  if (!place.after) d.last = b;
  if (f.is_last) d.total = end_of(f);
  d.have += f.length;
  d.ecn |= static_cast<uint8_t>(1u << f.ecn);
  const uint32_t segments = chain_segments(*b);
  ++d.n_fragments;
  d.n_buffers += segments;
  n_buffers_ += segments;
}

ReassemblyTable::Fate ReassemblyTable::add(Worker& w, const FragmentKey& key, Buffer* b,
                                           const Fragment& f, Buffer** whole) {
  Index i = find(key);
  if (i != 0 && at(i).is_given_up) return kGivenUp;
  if (i == 0) i = open(w, key);
  Datagram& d = at(i);
  Neighbors place;
  if (const Fate fate = find_place(d, *b, f, place); fate != kHeld)
    return fate == kDuplicate ? fate : give_up(w, i, fate);
  if (is_mixed(static_cast<uint8_t>(d.ecn | 1u << f.ecn))) return give_up(w, i, kMixedEcn);
  if (d.n_fragments == limits_.fragments) return give_up(w, i, kTooMany);
  const uint32_t segments = chain_segments(*b);
  if (d.n_buffers + segments > limits_.buffers) return give_up(w, i, kTooLarge);
  const Fragment head = place.before ? about(*d.first) : f;
  if (head.offset == 0 && head.strip + std::max(end_of(f), d.total) > limits_.bytes)
    return give_up(w, i, kTooLarge);
  make_room(w, i, segments);
  insert(d, b, f, place);
  if (d.have != d.total) return kHeld;
  count_(w, kReassembled, d.n_fragments - 1);
  n_buffers_ -= d.n_buffers;
  *whole = join(w, d);
  remove(w, i);
  return kReassembled;
}

// One chain of the first fragment and the others' payloads.
Buffer* ReassemblyTable::join(Worker& w, Datagram& d) noexcept {
  Buffer* const first = d.first;
  Fragment whole = about(*first);
  const uint32_t header = whole.strip;
  uint32_t flags = first->flags;
  Buffer* tail = last_segment(first);
  for (Buffer* b = whole.next; b;) {
    const Fragment f = about(*b);
    flags |= b->flags & kBufferGroup;
    Buffer* const payload = strip(w, b, f.strip);
    payload->rest_len = 0;
    tail->next = payload;
    tail = last_segment(payload);
    b = f.next;
  }
  // What a device, or whoever sent it here, says of one fragment is nothing about the whole.
  first->flags = flags & ~(kBufferL4ChecksumOk | kBufferTxL4Checksum | kBufferTxIp4Checksum);
  first->gso_size = 0;
  first->hash = 0;
  first->rest_len = header + d.total - first->len;
  pull_up(w, *first);
  whole.next = nullptr;
  whole.length = d.total;
  whole.ecn = ecn_of(d.ecn, whole.ecn);
  note(*first, whole);
  return first;
}

void ReassemblyTable::expire(Worker& w) {
  while (oldest_ != 0 && at(oldest_).deadline <= w.now) {
    Datagram& d = at(oldest_);
    Buffer* offender = nullptr;
    if (d.first && about(*d.first).offset == 0) {
      offender = d.first;
      d.first = about(*offender).next;
      const uint32_t segments = chain_segments(*offender);
      n_buffers_ -= segments;
      d.n_buffers -= segments;
      --d.n_fragments;
      count_(w, kTimedOut, 1);
    }
    drop_fragments(w, d, kTimedOut);
    remove(w, oldest_);
    if (offender) timed_out_(w, offender);
  }
  set_clock(w);
}

void ReassemblyTable::set_clock(Worker& w) {
  if (oldest_ != 0) w.timer_start(clock_.timer, at(oldest_).deadline);
}

void ReassemblyTable::flush(Worker& w, uint32_t rx_if) {
  for (Index i = oldest_; i != 0;) {
    Datagram& d = at(i);
    const Index younger = d.younger;
    bool is_meant = rx_if == kNoIndex;
    for (const Buffer* b = d.first; b && !is_meant; b = about(*b).next)
      is_meant = b->rx_if == rx_if;
    if (is_meant) {
      drop_fragments(w, d, kFlushed);
      remove(w, i);
    }
    i = younger;
  }
  set_clock(w);
}

}  // namespace loom
