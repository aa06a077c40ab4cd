#include "svm/fifo_producer.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include <hostloom/check.h>

#include "svm/copy.h"
#include "svm/fifo_wake.h"

namespace loom::svm {
namespace {

bool before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

}  // namespace

void init_fifo(FifoShared& fifo, uint32_t start) noexcept {
  new (&fifo) FifoShared{};
  fifo.producer.tail.store(start, std::memory_order_relaxed);
  fifo.producer.head_seen = start;
  fifo.consumer.head.store(start, std::memory_order_relaxed);
  fifo.consumer.tail_seen = start;
}

void init_fifos(SessionShared& s) noexcept {
  new (&s.daemon) DaemonLine{};
  new (&s.rx_consumer) FifoConsumerLine{};
  new (&s.tx_producer) FifoProducerLine{};
}

// --- Life ---

template <class C>
void FifoProducer<C>::release() noexcept {
  if (!producer_) return;
  if constexpr (kPrivate) {
    free_all();
    OooList::destroy(state().ooo);
    state().ooo = nullptr;
  } else {
    chunks_.free_fifo(read_once(state().oldest_chunk));
    state().oldest_chunk = state().tail_chunk = 0;
    state().tail_chunk_end = tail();
  }
}

// --- Where the state lies ---

template <class C>
uint32_t FifoProducer<C>::tail() const noexcept {
  if constexpr (kPrivate)
    return state().tail_copy;
  else
    return producer_->tail.load(std::memory_order_relaxed);
}

template <class C>
void FifoProducer<C>::store_tail(uint32_t tail) noexcept {
  if constexpr (kPrivate) state().tail_copy = tail;
  producer_->tail.store(tail, std::memory_order_release);
}

template <class C>
uint32_t FifoProducer<C>::flags() const noexcept {
  if constexpr (kPrivate)
    return state().flags_copy;
  else
    return producer_->flags.load(std::memory_order_relaxed);
}

template <class C>
void FifoProducer<C>::store_flags(uint32_t flags) noexcept {
  if constexpr (kPrivate) state().flags_copy = flags;
  producer_->flags.store(flags, std::memory_order_release);
}

template <class C>
OooList* FifoProducer<C>::ooo() const noexcept {
  if constexpr (kPrivate)
    return state().ooo;
  else
    return nullptr;
}

// --- Space ---

template <class C>
uint32_t FifoProducer<C>::refresh() noexcept {
  if (violation()) return 0;
  const uint32_t head = consumer_->head.load(std::memory_order_acquire);
  auto& s = state();
  if (head - s.head_seen > tail() - s.head_seen) {  // not between the last head and tail
    violate();
    return 0;
  }
  s.head_seen = head;
  return space();
}

// How many of n bytes the limit leaves room for.
template <class C>
uint32_t FifoProducer<C>::room(uint32_t n) noexcept {
  if (violation()) return 0;
  const uint32_t known = space();
  return std::min(n, known >= n ? known : refresh());
}

// As large as what the fifo holds or is about to, so that the number of chunks stays small.
template <class C>
uint32_t FifoProducer<C>::chunk_log2(uint32_t need) const noexcept {
  const uint32_t want = std::min(std::max(need, used()), 1u << kMaxGrownChunkLog2);
  const auto log2 = static_cast<uint32_t>(std::bit_width(want + sizeof(ChunkHeader) - 1));
  return std::clamp(log2, kMinChunkLog2, kMaxGrownChunkLog2);
}

// A new list of chunks, beginning at tail. The consumer sees it with the next tail (release).
template <class C>
bool FifoProducer<C>::start_list(uint32_t n) noexcept {
  const Handle h = chunks_.alloc(chunk_log2(n), tail());
  if (!h) return false;
  auto& s = state();
  s.oldest_chunk = s.tail_chunk = h;
  s.tail_chunk_end = chunks_.view(h).end;
  auto& line = *producer_;
  line.base_chunk.store(chunks_.ref(h), std::memory_order_relaxed);
  if constexpr (kPrivate) {
    line.base_gen.store(++s.base_gen_copy, std::memory_order_relaxed);
  } else {
    line.base_gen.store(line.base_gen.load(std::memory_order_relaxed) + 1,
                        std::memory_order_relaxed);
  }
  return true;
}

// Sees to it that chunks reach n bytes beyond tail; returns how many they do, at most n. Freeing
// happens here too: at the end of the tail chunk, when head is worth a look.
template <class C>
uint32_t FifoProducer<C>::cover(uint32_t n) noexcept {
  auto& s = state();
  if (s.tail_chunk && n <= s.tail_chunk_end - tail()) [[likely]]
    return n;
  refresh();
  if (violation()) return 0;
  if (used() == 0 && !ooo())
    free_all();
  else
    free_behind_head();
  if (violation() || (!s.tail_chunk && !start_list(n))) return 0;

  Handle last = s.tail_chunk;
  uint32_t end = s.tail_chunk_end;
  if constexpr (kPrivate) {
    find_last(last, end);
  } else {
    // Chunks ahead: reserved and not committed, or left by a process that died.
    while (before(end, tail() + n) && chunks_.next(last)) {
      ChunkView view{nullptr, 0, end};
      if (!step(last, view)) return 0;
      end = view.end;
    }
  }
  while (before(end, tail() + n)) {
    const Handle h = chunks_.alloc(chunk_log2(tail() + n - end), end);
    if (!h) break;
    chunks_.link(last, h);
    last = h;
    end = chunks_.view(h).end;
    if constexpr (kPrivate) {
      if (s.ooo) {
        s.ooo->last_chunk = last;
        s.ooo->last_end = end;
      }
    }
  }
  return std::min(n, end - tail());
}

// Daemon: the last chunk. Behind the one at tail there are others only for out-of-order bytes,
// whose list knows it, but for few that an attempt in vain has left.
template <class C>
void FifoProducer<C>::find_last(Handle& last, uint32_t& end) const noexcept {
  const auto& s = state();
  last = s.tail_chunk;
  end = s.tail_chunk_end;
  if constexpr (kPrivate) {
    if (s.ooo) {
      last = s.ooo->last_chunk;
      end = s.ooo->last_end;
    }
  }
  while (const Handle next = chunks_.next(last)) {
    last = next;
    end = chunks_.view(next).end;
  }
}

template <class C>
uint32_t FifoProducer<C>::free_behind_head() noexcept {
  auto& s = state();
  uint32_t freed = 0;
  // Each begins where the one before it ended, so the list cannot lead back to itself.
  uint32_t start = s.oldest_chunk ? chunks_.view(s.oldest_chunk).start : 0;
  while (s.oldest_chunk != s.tail_chunk) {
    const Handle h = s.oldest_chunk;
    const ChunkView view = chunks_.view(h);
    if (view.data && view.start == start && !before(view.end, s.head_seen)) break;
    const Handle next = chunks_.next(h);
    if (!view.data || view.start != start || !next) {
      violate();
      break;
    }
    s.oldest_chunk = next;  // first: dying between the two loses a chunk, and frees none twice
    chunks_.free(h);
    freed += view.end - view.start;
    start = view.end;
  }
  return freed;
}

template <class C>
uint32_t FifoProducer<C>::free_all() noexcept {
  auto& s = state();
  uint32_t freed = 0;
  Handle h = s.oldest_chunk;
  uint32_t start = h ? chunks_.view(h).start : 0;
  s.oldest_chunk = s.tail_chunk = 0;
  s.tail_chunk_end = tail();
  // More than any fifo of this size ever has: somebody else may have made the list.
  uint32_t budget = std::max(size(), 1u << kMaxChunkLog2) / (1u << (kMinChunkLog2 - 1));
  while (h) {
    const ChunkView view = chunks_.view(h);
    if (!view.data || view.start != start || (!kPrivate && budget-- == 0)) {  // not a list of ours
      violate();
      break;
    }
    const Handle next = chunks_.next(h);
    chunks_.free(h);
    freed += view.end - view.start;
    start = view.end;
    h = next;
  }
  return freed;
}

template <class C>
uint32_t FifoProducer<C>::reclaim() noexcept {
  if (!state().oldest_chunk) return 0;
  refresh();
  if (violation()) return 0;
  return used() == 0 && !ooo() ? free_all() : free_behind_head();
}

// --- Writing ---

// To the next chunk, which must go on where this one ends.
template <class C>
bool FifoProducer<C>::step(Handle& h, ChunkView& view) noexcept {
  h = chunks_.next(h);
  if (!h) return violate();
  const uint32_t end = view.end;
  view = chunks_.view(h);
  return (view.data && view.start == end) || violate();
}

// The chunk that has room for the byte at `pos`, at or behind tail and covered.
template <class C>
bool FifoProducer<C>::locate(uint32_t pos, Handle& h, ChunkView& view) noexcept {
  const auto& s = state();
  h = s.tail_chunk;
  if constexpr (kPrivate) {
    if (s.ooo && s.ooo->hint_chunk && !before(s.ooo->hint_start, s.tail_chunk_end) &&
        !before(pos, s.ooo->hint_start))
      h = s.ooo->hint_chunk;
  }
  view = chunks_.view(h);
  if (!view.data || before(pos, view.start)) return violate();
  while (!before(pos, view.end))
    if (!step(h, view)) return false;
  return true;
}

template <class C>
bool FifoProducer<C>::copy_in(uint32_t pos, std::span<const ByteView> parts, uint32_t n) noexcept {
  if (n == 0) return true;
  Handle h;
  ChunkView view;
  if (!locate(pos, h, view)) return false;
  for (const ByteView part : parts) {
    uint32_t done = 0;
    const auto want = static_cast<uint32_t>(std::min<size_t>(part.size(), n));
    while (done < want) {
      if (pos == view.end && !step(h, view)) return false;
      const uint32_t take = std::min(want - done, view.end - pos);
      copy_bytes(view.data + (pos - view.start), part.data() + done, take);
      pos += take;
      done += take;
    }
    n -= want;
    if (n == 0) break;
  }
  if constexpr (kPrivate) {
    if (state().ooo) {
      state().ooo->hint_chunk = h;
      state().ooo->hint_start = view.start;
    }
  }
  return true;
}

// The n bytes behind tail are in place: moves tail over them and over what was waiting for them.
// Returns how far.
template <class C>
uint32_t FifoProducer<C>::publish(uint32_t n) noexcept {
  auto& s = state();
  uint32_t to = tail() + n;
  if constexpr (kPrivate) {
    if (s.ooo) {
      to = s.ooo->absorb(tail(), to);
      if (s.ooo->empty()) {
        OooList::destroy(s.ooo);
        s.ooo = nullptr;
      }
    }
  }
  if (before(s.tail_chunk_end, to)) {
    Handle h = s.tail_chunk;
    ChunkView view{nullptr, 0, s.tail_chunk_end};
    while (before(view.end, to))
      if (!step(h, view)) return 0;
    s.tail_chunk = h;
    s.tail_chunk_end = view.end;
  }
  const uint32_t advanced = to - tail();
  store_tail(to);
  return advanced;
}

namespace {
uint32_t total_of(std::span<const ByteView> parts) {
  size_t sum = 0;
  for (const ByteView p : parts) sum += p.size();
  return static_cast<uint32_t>(std::min<size_t>(sum, 1u << 31));
}
}  // namespace

template <class C>
uint32_t FifoProducer<C>::enqueue(std::span<const ByteView> parts) noexcept {
  uint32_t n = room(total_of(parts));
  if (n != 0) n = cover(n);
  if (n == 0 || !copy_in(tail(), parts, n)) return 0;
  publish(n);
  return violation() ? 0 : n;
}

template <class C>
auto FifoProducer<C>::enqueue_at(uint32_t offset, std::span<const ByteView> parts) noexcept
    -> Placed requires kPrivate {
  const uint32_t total = total_of(parts);
  if (offset > size()) return {};
  const uint32_t reach = room(offset + std::min(total, size()));
  if (reach <= offset) return {};
  if (offset == 0) {
    const uint32_t n = cover(std::min(reach, total));
    if (n == 0 || !copy_in(tail(), parts, n)) return {};
    return {n, publish(n)};
  }

  auto& s = state();
  const uint32_t at = tail() + offset;
  const uint32_t to = tail() + std::min(reach, offset + total);
  if (ooo() && !ooo()->accepts(tail(), at, to)) return {};  // before memory is spent on it
  const uint32_t covered = cover(to - tail());
  if (covered <= offset) return {};
  if (!s.ooo) {
    ChunkId last;
    uint32_t last_end;
    find_last(last, last_end);
    if (!(s.ooo = OooList::make())) return {};
    s.ooo->last_chunk = last;
    s.ooo->last_end = last_end;
  }
  const uint32_t n = covered - offset;
  if (!s.ooo->accepts(tail(), at, at + n)) return {};  // it got shorter, memory ran out
  if (!copy_in(at, parts, n)) return {};
  s.ooo->insert(tail(), at, at + n);
  return {n, 0};
}

template <class C>
uint32_t FifoProducer<C>::reserve(uint32_t n, std::span<MutableByteView> out) noexcept {
  n = room(n);
  if (n != 0) n = cover(n);
  if (n == 0 || out.empty()) return 0;
  Handle h;
  ChunkView view;
  uint32_t pos = tail(), k = 0;
  if (!locate(pos, h, view)) return 0;
  while (true) {
    const uint32_t take = std::min(n, view.end - pos);
    out[k++] = {view.data + (pos - view.start), take};
    pos += take;
    n -= take;
    if (n == 0 || k == out.size()) return k;
    if (!step(h, view)) return 0;
  }
}

template <class C>
void FifoProducer<C>::commit(uint32_t n) noexcept {
  if (n != 0 && !violation()) publish(n);
}

// --- Ends and wake-ups ---

template <class C>
void FifoProducer<C>::set_eof() noexcept {
  store_flags(flags() | kFifoEof);
}

template <class C>
void FifoProducer<C>::set_reset(int error) noexcept {
  producer_->error.store(static_cast<uint32_t>(error), std::memory_order_relaxed);
  store_flags(flags() | kFifoReset);
}

template <class C>
void FifoProducer<C>::begin_more() noexcept requires(!kPrivate) {
  if (more()) return;
  producer_->more_from.store(tail(), std::memory_order_relaxed);
  store_flags(flags() | kFifoMore);
}

template <class C>
void FifoProducer<C>::end_more() noexcept requires(!kPrivate) {
  if (more()) store_flags(flags() & ~static_cast<uint32_t>(kFifoMore));
}

template <class C>
bool FifoProducer<C>::should_notify() noexcept {
  const bool due = wake::consumer_waits(*consumer_);
  refresh();
  return due;
}

template <class C>
bool FifoProducer<C>::want_space(uint32_t threshold) noexcept {
  threshold = std::clamp(threshold, 1u, size());
  if (refresh() >= threshold || violation()) return false;
  uint32_t f = flags();
  wake::request_space(*producer_, f, tail() - (size() - threshold));
  if constexpr (kPrivate) state().flags_copy = f;
  if (refresh() < threshold && !violation()) return true;
  clear_want_space();
  return false;
}

template <class C>
void FifoProducer<C>::clear_want_space() noexcept {
  if (flags() & kFifoWantSpace) store_flags(flags() & ~static_cast<uint32_t>(kFifoWantSpace));
}

template class FifoProducer<DaemonChunks>;
template class FifoProducer<AppChunks>;

}  // namespace loom::svm
