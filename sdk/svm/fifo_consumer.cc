#include "svm/fifo_consumer.h"

#include <algorithm>

#include <hostloom/check.h>

#include "svm/copy.h"
#include "svm/fifo_wake.h"

namespace loom::svm {

template <bool P>
uint32_t FifoConsumer<P>::head() const noexcept {
  if constexpr (P)
    return cursor().head_copy;
  else
    return consumer_->head.load(std::memory_order_relaxed);
}

template <bool P>
bool FifoConsumer<P>::violate() noexcept {
  mine().violation = true;
  cursor().tail_seen = head();  // nothing more to read
  return false;
}

// --- Following references that somebody else wrote ---

// The chunk at `ref`, which must begin with cursor value `start`. A chunk is entered once; from
// then on our copy of its limits counts, whatever its header says later.
template <bool P>
bool FifoConsumer<P>::enter(Ref ref, uint32_t start, At& at) noexcept {
  const auto* header = table_->template resolve_as<const ChunkHeader>(ref);
  if (!header) return violate();
  const uint32_t log2 = read_once(header->log2_size);
  if (log2 < kMinChunkLog2 || log2 > kMaxChunkLog2 || read_once(header->start) != start ||
      !table_->resolve(ref, 1ull << log2))
    return violate();
  at = {reinterpret_cast<const std::byte*>(header + 1), ref, start, start + chunk_capacity(log2)};
  return true;
}

// A chunk that was entered before; its segment may be unknown to this process (after fork).
template <bool P>
bool FifoConsumer<P>::resume(Ref chunk, uint32_t start, uint32_t end, At& at) noexcept {
  const uint32_t capacity = end - start;
  if (capacity > chunk_capacity(kMaxChunkLog2)) return violate();
  const auto* header = table_->template resolve_as<const ChunkHeader>(chunk, capacity);
  if (!header) return violate();
  at = {reinterpret_cast<const std::byte*>(header + 1), chunk, start, end};
  return true;
}

template <bool P>
bool FifoConsumer<P>::follow(At& at) noexcept {
  const auto* header = reinterpret_cast<const ChunkHeader*>(at.base) - 1;
  return enter(header->next.load(std::memory_order_acquire), at.end, at);
}

// The chunk that holds the byte at `pos`, which is in [head, tail). Each step passes at least 4032
// bytes (enter has seen to that), so there are at most size / 4032 of them.
template <bool P>
bool FifoConsumer<P>::locate(uint32_t pos, At& at) noexcept {
  auto& c = cursor();
  if constexpr (P) {
    // The send cursor is of use if it is not behind head's chunk (that chunk may be gone).
    if (c.send_chunk != 0 && static_cast<int32_t>(pos - c.send_start) >= 0 &&
        static_cast<int32_t>(c.send_start - c.chunk_start) >= 0) {
      if (!resume(c.send_chunk, c.send_start, c.send_end, at)) return false;
    } else if (!resume(c.chunk, c.chunk_start, c.chunk_end, at)) {
      return false;
    }
  } else {
    if (!resume(read_once(c.chunk), read_once(c.chunk_start), read_once(c.chunk_end), at))
      return false;
  }
  if (static_cast<int32_t>(pos - at.start) < 0) return violate();
  while (static_cast<int32_t>(pos - at.end) >= 0)
    if (!follow(at)) return false;
  return true;
}

// The producer has freed all chunks and started a new list: possible only when we had read all.
template <bool P>
bool FifoConsumer<P>::rebase(uint32_t head) noexcept {
  auto& c = cursor();
  const uint32_t generation = producer_->base_gen.load(std::memory_order_relaxed);
  if (generation == c.base_gen) return true;
  if (head != c.tail_seen) return violate();
  At at;
  if (!enter(producer_->base_chunk.load(std::memory_order_relaxed), head, at)) return false;
  c.chunk = at.ref;
  c.chunk_start = at.start;
  c.chunk_end = at.end;
  c.base_gen = generation;
  if constexpr (P) c.send_chunk = 0;
  return true;
}

template <bool P>
uint32_t FifoConsumer<P>::refresh() noexcept {
  if (violation()) return 0;
  const uint32_t h = head();
  const uint32_t tail = producer_->tail.load(std::memory_order_acquire);
  const uint32_t n = tail - h;
  if (n > size() || n < cursor().tail_seen - h) {  // more than fits, or taken back
    violate();
    return 0;
  }
  if (n != 0 && !rebase(h)) return 0;
  cursor().tail_seen = tail;
  return n;
}

// --- Reading ---

template <bool P>
uint32_t FifoConsumer<P>::segments(uint32_t offset, uint32_t max_bytes,
                                   std::span<ByteView> out) noexcept {
  uint32_t readable = cached_available();
  if (readable < offset || readable - offset < max_bytes) readable = refresh();
  if (readable <= offset || max_bytes == 0 || out.empty()) return 0;
  uint32_t left = std::min(max_bytes, readable - offset);
  uint32_t pos = head() + offset;
  At at;
  if (!locate(pos, at)) return 0;
  uint32_t n = 0;
  while (true) {
    const uint32_t take = std::min(left, at.end - pos);
    out[n++] = {at.base + (pos - at.start), take};
    pos += take;
    left -= take;
    if (left == 0 || n == out.size()) break;
    if (!follow(at)) return 0;
  }
  if constexpr (P) {
    cursor().send_chunk = at.ref;
    cursor().send_start = at.start;
    cursor().send_end = at.end;
  }
  return n;
}

template <bool P>
uint32_t FifoConsumer<P>::peek(uint32_t offset, MutableByteView out) noexcept {
  uint32_t readable = cached_available();
  if (readable < offset || readable - offset < out.size()) readable = refresh();
  if (readable <= offset || out.empty()) return 0;
  const auto n = static_cast<uint32_t>(std::min<size_t>(out.size(), readable - offset));
  uint32_t pos = head() + offset;
  At at;
  if (!locate(pos, at)) return 0;
  uint32_t done = 0;
  while (true) {
    const uint32_t take = std::min(n - done, at.end - pos);
    copy_bytes(out.data() + done, at.base + (pos - at.start), take);
    pos += take;
    done += take;
    if (done == n) return n;
    if (!follow(at)) return 0;
  }
}

template <bool P>
void FifoConsumer<P>::drop(uint32_t n) noexcept {
  n = std::min(n, cached_available());
  if (n == 0) return;
  auto& c = cursor();
  const uint32_t new_head = head() + n;
  At at;
  // Ends in the chunk that holds the byte before the new head: the producer frees a chunk once head
  // is beyond its end, and at its end we still need its link.
  if (!locate(new_head - 1, at)) return;
  c.chunk = at.ref;
  c.chunk_start = at.start;
  c.chunk_end = at.end;
  if constexpr (P) c.head_copy = new_head;
  consumer_->head.store(new_head, std::memory_order_release);
}

template <bool P>
uint32_t FifoConsumer<P>::dequeue(MutableByteView out) noexcept {
  const uint32_t n = peek(0, out);
  drop(n);
  return n;
}

// --- Wake-ups and ends ---

template <bool P>
bool FifoConsumer<P>::should_notify() noexcept {
  const bool due = wake::producer_waits(*producer_, head(), cursor().space_answered);
  refresh();
  return due;
}

template <bool P>
bool FifoConsumer<P>::arm(uint32_t seen) noexcept {
  wake::arm(*consumer_);
  if constexpr (!P) {
    if (producer_->flags.load(std::memory_order_acquire) & (kFifoEof | kFifoReset)) return false;
  }
  return refresh() <= seen && !violation();
}

template <bool P>
bool FifoConsumer<P>::eof() noexcept {
  // The flag was stored after the last tail, and is loaded before it.
  return (producer_->flags.load(std::memory_order_acquire) & kFifoEof) && refresh() == 0;
}

template <bool P>
bool FifoConsumer<P>::reset() const noexcept {
  return producer_->flags.load(std::memory_order_acquire) & kFifoReset;
}

template <bool P>
int FifoConsumer<P>::error() const noexcept {
  return static_cast<int>(producer_->error.load(std::memory_order_relaxed));
}

template class FifoConsumer<false>;
template class FifoConsumer<true>;

}  // namespace loom::svm
