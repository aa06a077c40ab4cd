// Consumer side of a fifo: reads, and decides what the producer may free by moving head.
//
// Every cursor, chunk reference and chunk header comes from memory that somebody else writes, so
// each is read once, checked, and followed only inside the segments of the given table. For the
// daemon (tx fifo) a contradiction sets violation(), and the owner ends that application; for an
// application (rx fifo, or a cut-through peer) it means that this session is broken.
//
// Two homes for the state: AppFifoConsumer keeps it in the shared line, so that a forked child goes
// on where its parent was (the caller serialises them with SessionShared::lock); DaemonFifoConsumer
// has it in a PrivateCursor of its owner's, and only mirrors head. The object itself is only a way
// to get at these, and may be made anew for each call.
//
// Threads: one at a time.
#pragma once
#include <algorithm>

#include "svm/bytes.h"
#include "svm/segment.h"

namespace loom::svm {

// Where the daemon is in a fifo: at head, and at the place it last sent from.
struct PrivateCursor {
  explicit PrivateCursor(uint32_t fifo_size = 0, uint32_t start = 0) noexcept
      : tail_seen(start), head_copy(start), size(fifo_size & 0x7fffffff), violation(0) {}
  Ref chunk = 0;
  // Second cursor, so that sending at snd_nxt does not walk from snd_una each time.
  Ref send_chunk = 0;
  uint32_t chunk_start = 0, chunk_end = 0;
  uint32_t send_start = 0, send_end = 0;
  uint32_t base_gen = 0;
  uint32_t tail_seen;
  uint32_t head_copy;
  uint32_t size : 31, violation : 1;
  uint32_t space_answered = 0;
};
static_assert(sizeof(PrivateCursor) == 56);

template <bool kPrivate>
class FifoConsumer {
 public:
  FifoConsumer() = default;
  // Application: goes on from the shared state. `size` bounds tail - head; `table` holds the
  // segments that chunks may lie in.
  FifoConsumer(RxFifo fifo, const SegmentTable& table, uint32_t size) noexcept requires(!kPrivate)
      : producer_(&fifo.producer), consumer_(&fifo.consumer), table_(&table), own_{size} {}
  // Daemon: goes on from `state`, which belongs to this fifo alone and begins with it.
  FifoConsumer(TxFifo fifo, const SegmentTable& table,
               PrivateCursor& state) noexcept requires kPrivate : producer_(&fifo.producer),
                                                                  consumer_(&fifo.consumer),
                                                                  table_(&table),
                                                                  own_{&state} {}

  // Looks at the producer's line. Bytes readable from head on.
  uint32_t refresh() noexcept;
  // Bytes known to be readable; looks at the producer's line only when there are none.
  uint32_t available() noexcept {
    const uint32_t n = cached_available();
    return n != 0 ? n : refresh();
  }
  uint32_t cached_available() const noexcept { return cursor().tail_seen - head(); }
  uint32_t head() const noexcept;

  // Copies up to out.size() bytes from head + offset; bytes copied.
  uint32_t peek(uint32_t offset, MutableByteView out) noexcept;
  // Up to out.size() views of the bytes from head + offset on, at most max_bytes in all; views
  // filled in. They stay valid until the bytes are dropped.
  uint32_t segments(uint32_t offset, uint32_t max_bytes, std::span<ByteView> out) noexcept;
  // Releases the n oldest bytes (at most cached_available()) and publishes head.
  void drop(uint32_t n) noexcept;
  // peek at head, then drop.
  uint32_t dequeue(MutableByteView out) noexcept;

  // After refresh: how many of the newest bytes it saw may wait for more (MSG_MORE). A plain write
  // clears the flag before it moves tail, so bytes that are due are never among them.
  uint32_t held() const noexcept requires kPrivate {
    if (!(producer_->flags.load(std::memory_order_acquire) & kFifoMore)) [[likely]]
      return 0;
    const uint32_t from = producer_->more_from.load(std::memory_order_relaxed);
    const auto n = static_cast<int32_t>(cursor().tail_seen - from);
    return n <= 0 ? 0 : std::min(static_cast<uint32_t>(n), cached_available());
  }

  // After drop or dequeue: whether the producer is to be told that there is space. Also takes a new
  // look at tail, as the line is here anyway.
  bool should_notify() noexcept;
  // Before sleeping: asks for an event at the next enqueue. True: there is nothing beyond
  // head + seen, sleep. False: there is something, go on (an event may come in spite of it).
  // An application is also kept awake by end of file and reset.
  bool arm(uint32_t seen = 0) noexcept;

  // The producer has ended the stream, and everything was read. / The connection is gone.
  bool eof() noexcept;
  // The same, with bytes still to be read.
  bool eof_ahead() const noexcept {
    return producer_->flags.load(std::memory_order_acquire) & kFifoEof;
  }
  bool reset() const noexcept;
  int error() const noexcept;  // errno, with reset()

  // The shared memory contradicts itself. Stays so.
  bool violation() const noexcept { return mine().violation; }
  uint32_t size() const noexcept { return mine().size; }
  void set_size(uint32_t size) noexcept { mine().size = size & 0x7fffffff; }  // below 2^31

 protected:
  // Of no fifo yet.
  explicit FifoConsumer(PrivateCursor& state) noexcept requires kPrivate : own_{&state} {}

 private:
  struct Own {  // of an application's, beside what it shares with its other processes
    uint32_t size = 0;
    bool violation = false;
  };
  struct Elsewhere {
    PrivateCursor* state = nullptr;
  };
  auto& mine() noexcept {
    if constexpr (kPrivate)
      return *own_.state;
    else
      return own_;
  }
  const auto& mine() const noexcept { return const_cast<FifoConsumer*>(this)->mine(); }
  struct At {  // a chunk, checked to lie in its segment
    const std::byte* base;
    Ref ref;
    uint32_t start, end;  // cursor values of its bytes
  };
  auto& cursor() noexcept {
    if constexpr (kPrivate)
      return *own_.state;
    else
      return static_cast<FifoConsumerLine&>(*consumer_);
  }
  const auto& cursor() const noexcept { return const_cast<FifoConsumer*>(this)->cursor(); }
  bool enter(Ref ref, uint32_t start, At& at) noexcept;
  bool follow(At& at) noexcept;
  bool resume(Ref chunk, uint32_t start, uint32_t end, At& at) noexcept;
  bool locate(uint32_t pos, At& at) noexcept;
  bool rebase(uint32_t head) noexcept;
  bool violate() noexcept;

  const FifoProducerWords* producer_ = nullptr;
  FifoConsumerWords* consumer_ = nullptr;
  const SegmentTable* table_ = nullptr;
  std::conditional_t<kPrivate, Elsewhere, Own> own_;
};

using AppFifoConsumer = FifoConsumer<false>;
using DaemonFifoConsumer = FifoConsumer<true>;
extern template class FifoConsumer<false>;
extern template class FifoConsumer<true>;

}  // namespace loom::svm
