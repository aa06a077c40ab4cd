// Producer side of a fifo: writes, allocates chunks as data arrives, frees what lies behind head.
//
// DaemonFifoProducer (rx fifo): all state private, in a PrivateProducer of its owner's, chunks from
// a DaemonArena. The only word it reads from shared memory is the consumer's head, bounded by [last
// head, tail]. The object itself is only a way to get at these, and may be made anew for each call.
// AppFifoProducer (tx fifo): state in the shared line, so that a forked child goes on (the caller
// serialises processes with SessionShared::lock), chunks from an AppArena.
//
// Chunks: the first holds what arrives, at least 4 KB; later ones are as large as what the fifo
// holds, up to 256 KB, so a flow whose reader keeps up lives in one hot chunk, and a bulk flow in
// few large ones. A chunk is freed when head is beyond its end (strictly: at its end, the consumer
// still needs its link). All are freed when the fifo is empty; the next byte then starts a new list
// at base_chunk, under a new base_gen.
//
// Threads: one at a time.
#pragma once
#include "svm/bytes.h"
#include "svm/fifo_chunks.h"
#include "svm/fifo_ooo.h"

namespace loom::svm {

constexpr uint32_t kMaxGrownChunkLog2 = 18;  // chunks do not grow beyond 256 KB by themselves

// Starts a fifo's shared lines: empty, next byte at cursor value `start`.
void init_fifo(FifoShared& fifo, uint32_t start = 0) noexcept;
// Both fifos of a session.
void init_fifos(SessionShared& session) noexcept;

// State of a daemon producer; an application's is in FifoProducerLine, under the same names.
struct PrivateProducer {
  explicit PrivateProducer(uint32_t fifo_size = 0, uint32_t start = 0) noexcept
      : tail_copy(start), head_seen(start), size(fifo_size & 0x7fffffff), violation(0) {}
  uint32_t tail_copy;
  uint32_t flags_copy = 0, base_gen_copy = 0;
  uint32_t head_seen;
  ChunkId oldest_chunk = 0, tail_chunk = 0;
  uint32_t tail_chunk_end = 0;
  uint32_t size : 31, violation : 1;
  OooList* ooo = nullptr;  // bytes beyond tail, only while there are any
};
static_assert(sizeof(PrivateProducer) == 40);

template <class Chunks>
class FifoProducer {
  static constexpr bool kPrivate = std::is_same_v<Chunks, DaemonChunks>;

 public:
  using Arena = typename Chunks::Arena;
  struct Placed {
    uint32_t taken = 0;     // bytes stored, from the first on
    uint32_t advanced = 0;  // bytes that became readable, with those that filled a hole
  };

  FifoProducer() = default;
  // Daemon: goes on from `state`, which belongs to this fifo alone and begins with it.
  FifoProducer(RxFifo fifo, Arena& arena, PrivateProducer& state) noexcept requires kPrivate
      : producer_(&fifo.producer),
        consumer_(&fifo.consumer),
        chunks_(&arena),
        own_{&state} {}
  // Application: goes on from the shared state.
  FifoProducer(TxFifo fifo, Arena& arena, uint32_t size) noexcept requires(!kPrivate)
      : producer_(&fifo.producer), consumer_(&fifo.consumer), chunks_(&arena), own_{size} {}

  uint32_t size() const noexcept { return mine().size; }
  // Below 2^31. A smaller size than what is in the fifo only stops further bytes. The consumer's
  // bound must never be the smaller one: raise it first.
  void set_size(uint32_t size) noexcept { mine().size = size & 0x7fffffff; }
  uint32_t tail() const noexcept;
  // By what is known without looking at the consumer's line: used at most, space at least that.
  uint32_t used() const noexcept { return tail() - state().head_seen; }
  uint32_t space() const noexcept { return used() >= size() ? 0 : size() - used(); }
  // Looks at the consumer's line; exact space.
  uint32_t refresh() noexcept;

  // Appends as much as there is space and memory for, and publishes it; bytes taken. tail() may
  // move further than that when out-of-order bytes are waiting: enqueue_at(0, ...) says how far.
  uint32_t enqueue(std::span<const ByteView> parts) noexcept;
  uint32_t enqueue(ByteView bytes) noexcept { return enqueue({&bytes, 1}); }

  // Zero-copy write: up to n bytes behind tail as at most out.size() views; views filled in. commit
  // publishes the first n of them. No other call may come between the two.
  uint32_t reserve(uint32_t n, std::span<MutableByteView> out) noexcept;
  void commit(uint32_t n) noexcept;

  // Daemon only: stores the bytes that belong at tail + offset. They become readable when all
  // before them have come.
  Placed enqueue_at(uint32_t offset, std::span<const ByteView> parts) noexcept requires kPrivate;
  Placed enqueue_at(uint32_t offset, ByteView bytes) noexcept requires kPrivate {
    return enqueue_at(offset, {&bytes, 1});
  }
  // Out-of-order bytes as [start, end) relative to tail, most recently changed first (RFC 2018
  // section 4); ranges written.
  uint32_t ooo_ranges(std::span<OooRange> out) const noexcept requires kPrivate {
    return state().ooo ? state().ooo->recent(tail(), out) : 0;
  }
  uint32_t ooo_bytes() const noexcept requires kPrivate {
    return state().ooo ? state().ooo->bytes() : 0;
  }

  // End of stream (in effect behind the last byte), and end of the connection with an errno. Both
  // stay; should_notify() afterwards.
  void set_eof() noexcept;
  bool has_eof() const noexcept { return flags() & kFifoEof; }
  void set_reset(int error) noexcept;

  // Application only, MSG_MORE: what is written from now on may wait for more / no longer. Before
  // the bytes concerned.
  void begin_more() noexcept requires(!kPrivate);
  void end_more() noexcept requires(!kPrivate);
  bool more() const noexcept requires(!kPrivate) { return flags() & kFifoMore; }

  // After enqueue, commit, set_*: whether the consumer is to be told. May be asked once for a batch
  // of enqueues. Also takes a new look at head, as the line is here anyway.
  bool should_notify() noexcept;
  // Before waiting for space: asks for an event once `threshold` bytes (at most size) are free.
  // True: wait for it. False: they are free already.
  bool want_space(uint32_t threshold) noexcept;
  void clear_want_space() noexcept;

  // Frees chunks behind head; all of them when the fifo is empty. Bytes freed. For sessions that
  // have gone idle: a busy producer does it by itself at each chunk's end.
  uint32_t reclaim() noexcept;
  bool holds_chunks() const noexcept { return state().oldest_chunk != 0; }
  // Frees everything, read or not; the consumer must not read any more. Daemon: when the session is
  // gone for both, and always, before the state ends. Application: the last holder, once the daemon
  // has let go of it; in constant time, whatever its chunks are said to be.
  void release() noexcept;

  // The shared memory contradicts itself. Stays so.
  bool violation() const noexcept { return mine().violation; }

 protected:
  // Of no fifo yet.
  explicit FifoProducer(PrivateProducer& state) noexcept requires kPrivate : own_{&state} {}

 private:
  using Handle = typename Chunks::Handle;
  struct Own {  // of an application's, beside what it shares with its other processes
    uint32_t size = 0;
    bool violation = false;
  };
  struct Elsewhere {
    PrivateProducer* state = nullptr;
  };
  auto& mine() noexcept {
    if constexpr (kPrivate)
      return *own_.state;
    else
      return own_;
  }
  const auto& mine() const noexcept { return const_cast<FifoProducer*>(this)->mine(); }
  auto& state() noexcept {
    if constexpr (kPrivate)
      return *own_.state;
    else
      return static_cast<FifoProducerLine&>(*producer_);
  }
  const auto& state() const noexcept { return const_cast<FifoProducer*>(this)->state(); }
  uint32_t flags() const noexcept;
  void store_flags(uint32_t flags) noexcept;
  void store_tail(uint32_t tail) noexcept;
  OooList* ooo() const noexcept;
  uint32_t room(uint32_t n) noexcept;
  uint32_t cover(uint32_t n) noexcept;
  void find_last(Handle& last, uint32_t& end) const noexcept;
  bool start_list(uint32_t n) noexcept;
  uint32_t chunk_log2(uint32_t need) const noexcept;
  bool locate(uint32_t pos, Handle& h, ChunkView& view) noexcept;
  bool step(Handle& h, ChunkView& view) noexcept;
  bool copy_in(uint32_t pos, std::span<const ByteView> parts, uint32_t n) noexcept;
  uint32_t publish(uint32_t n) noexcept;
  uint32_t free_behind_head() noexcept;
  uint32_t free_all() noexcept;
  bool violate() noexcept {
    mine().violation = true;
    return false;
  }

  FifoProducerWords* producer_ = nullptr;
  FifoConsumerWords* consumer_ = nullptr;
  Chunks chunks_;
  std::conditional_t<kPrivate, Elsewhere, Own> own_;
};

using DaemonFifoProducer = FifoProducer<DaemonChunks>;
using AppFifoProducer = FifoProducer<AppChunks>;
extern template class FifoProducer<DaemonChunks>;
extern template class FifoProducer<AppChunks>;

}  // namespace loom::svm
