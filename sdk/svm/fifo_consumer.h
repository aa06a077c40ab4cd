// Consumer side of a fifo: reads, and decides what the producer may free by moving head.
//
// Every cursor, chunk reference and chunk header comes from memory that somebody else writes, so
// each is read once, checked, and followed only inside the segments of the given table. For the
// daemon (tx fifo) a contradiction sets violation(), and the owner ends that application; for an
// application (rx fifo, or a cut-through peer) it means that this session is broken.
//
// Two homes for the state: AppFifoConsumer keeps it in the shared line, so that a forked child goes
// on where its parent was (the caller serialises them with SessionShared::lock); DaemonFifoConsumer
// keeps it in itself, and only mirrors head.
//
// Threads: one at a time.
#pragma once
#include <algorithm>

#include "svm/bytes.h"
#include "svm/segment.h"

namespace loom::svm {

// Where the daemon is in a fifo: at head, and at the place it last sent from.
struct PrivateCursor {
  Ref chunk = 0;
  uint32_t chunk_start = 0, chunk_end = 0;
  uint32_t base_gen = 0, tail_seen = 0, space_answered = 0;
  uint32_t head_copy = 0;
  // Second cursor, so that sending at snd_nxt does not walk from snd_una each time.
  Ref send_chunk = 0;
  uint32_t send_start = 0, send_end = 0;
};

template <bool kPrivate>
class FifoConsumer {
 public:
  FifoConsumer() = default;
  // Continues at the state that the shared lines (application) have, or at head (daemon: call it on
  // a fifo nobody has used yet). `size` bounds tail - head; `table` holds the segments that chunks
  // may lie in.
  FifoConsumer(FifoShared& shared, const SegmentTable& table, uint32_t size) noexcept;

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
    if (!(shared_->producer.flags.load(std::memory_order_acquire) & kFifoMore)) [[likely]]
      return 0;
    const uint32_t from = shared_->producer.more_from.load(std::memory_order_relaxed);
    const auto n = static_cast<int32_t>(private_.tail_seen - from);
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
  bool reset() const noexcept;
  int error() const noexcept;  // errno, with reset()

  // The shared memory contradicts itself. Stays so.
  bool violation() const noexcept { return violation_; }
  uint32_t size() const noexcept { return size_; }
  void set_size(uint32_t size) noexcept { size_ = size; }
  FifoShared* shared() const noexcept { return shared_; }

 private:
  struct At {  // a chunk, checked to lie in its segment
    const std::byte* base;
    Ref ref;
    uint32_t start, end;  // cursor values of its bytes
  };
  auto& cursor() noexcept {
    if constexpr (kPrivate)
      return private_;
    else
      return shared_->consumer;
  }
  const auto& cursor() const noexcept { return const_cast<FifoConsumer*>(this)->cursor(); }
  bool enter(Ref ref, uint32_t start, At& at) noexcept;
  bool follow(At& at) noexcept;
  bool resume(Ref chunk, uint32_t start, uint32_t end, At& at) noexcept;
  bool locate(uint32_t pos, At& at) noexcept;
  bool rebase(uint32_t head) noexcept;
  bool violate() noexcept;

  struct Nothing {};
  FifoShared* shared_ = nullptr;
  const SegmentTable* table_ = nullptr;
  uint32_t size_ = 0;
  bool violation_ = false;
  [[no_unique_address]] std::conditional_t<kPrivate, PrivateCursor, Nothing> private_;
};

using AppFifoConsumer = FifoConsumer<false>;
using DaemonFifoConsumer = FifoConsumer<true>;
static_assert(sizeof(DaemonFifoConsumer) <= 96);
extern template class FifoConsumer<false>;
extern template class FifoConsumer<true>;

}  // namespace loom::svm
