// Both directions of a session, in one process: what the tests of fifos are written against.
#pragma once
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <vector>

#include "svm/fifo.h"

namespace loom::svm {

using Bytes = std::vector<std::byte>;

// The byte at a place of the stream under test. The period is a prime, so that bytes of a wrong
// place do not look right by accident.
inline std::byte stream_byte(uint64_t pos) {
  const uint64_t x = pos % 65521;
  return static_cast<std::byte>((x * 2654435761u) >> 13 ^ x);
}

// The whole period twice, so that any stretch of it is one memcmp away.
class Stream {
 public:
  static constexpr size_t kPeriod = 65521;
  Stream() : bytes_(2 * kPeriod) {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = stream_byte(i);
  }
  ByteView at(uint64_t pos, size_t n) const {
    return ByteView(bytes_).subspan(pos % kPeriod, std::min(n, kPeriod));
  }
  bool matches(uint64_t pos, ByteView got) const {
    while (!got.empty()) {
      const ByteView want = at(pos, got.size());
      if (std::memcmp(want.data(), got.data(), want.size()) != 0) return false;
      pos += want.size();
      got = got.subspan(want.size());
    }
    return true;
  }

 private:
  Bytes bytes_;
};

// Daemon writes, application reads.
struct RxRig {
  using Producer = OwnedFifoProducer;
  using Consumer = AppFifoConsumer;

  explicit RxRig(uint32_t size, uint32_t start = 0, uint64_t memory = 64 << 20) {
    auto segment = Segment::create_anonymous(memory, SegmentKind::kDaemonArena);
    table.add(**segment);
    arena.add_segment(std::move(*segment));
    object = arena.alloc_object(sizeof(FifoShared));
    fifo = reinterpret_cast<FifoShared*>(object.ptr);
    init_fifo(*fifo, start);
    producer.open(*fifo, arena, size);
    consumer = Consumer(*fifo, table, size);
  }
  // Chunk memory in use or, for an application's arena, carved.
  uint64_t chunk_bytes() const { return arena.stats().chunk_bytes; }

  SegmentTable table;
  DaemonArena arena;
  DaemonArena::Object object;
  FifoShared* fifo = nullptr;
  Producer producer;
  Consumer consumer;
};

// Application writes, daemon reads.
struct TxRig {
  using Producer = AppFifoProducer;
  using Consumer = OwnedFifoConsumer;

  explicit TxRig(uint32_t size, uint32_t start = 0, uint64_t memory = 64 << 20) : arena(table) {
    segment = std::move(*Segment::create_anonymous(memory, SegmentKind::kAppArena));
    table.add(*segment);
    arena.add_segment(*segment);
    fifo = &lines;
    init_fifo(lines, start);
    producer = Producer(*fifo, arena, size);
    consumer.open(*fifo, table, size);
  }
  uint64_t chunk_bytes() const { return arena.carved_bytes(); }

  std::unique_ptr<Segment> segment;
  SegmentTable table;
  AppArena arena;
  FifoShared lines{};
  FifoShared* fifo = nullptr;
  Producer producer;
  Consumer consumer;
};

// An eventfd and a wait that fails the test when no event comes: the proof against lost wake-ups.
class Event {
 public:
  Event() : fd_(eventfd(0, EFD_CLOEXEC)) {}
  ~Event() { close(fd_); }
  Event(const Event&) = delete;
  void signal() const {
    const uint64_t one = 1;
    ASSERT_EQ(write(fd_, &one, sizeof one), 8);
  }
  bool wait(int timeout_ms = 20'000) const {
    pollfd p{fd_, POLLIN, 0};
    if (poll(&p, 1, timeout_ms) != 1) return false;
    uint64_t n;
    return read(fd_, &n, sizeof n) == 8;
  }

 private:
  int fd_;
};

}  // namespace loom::svm
