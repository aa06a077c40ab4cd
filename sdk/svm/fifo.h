// Both sides of a fifo. See fifo_producer.h, fifo_consumer.h, and fifo_wake.h for the wake-ups.
#pragma once
#include "svm/fifo_consumer.h"
#include "svm/fifo_producer.h"

namespace loom::svm {

// Before the end that works on it, so that it is there when that is made.
template <class T>
struct FifoState {
  T own;
};

// A daemon's end with its state in it, for who has few of them. open() takes a fifo straight from
// init_fifo.
class OwnedFifoProducer : FifoState<PrivateProducer>, public DaemonFifoProducer {
 public:
  OwnedFifoProducer() : DaemonFifoProducer(own) {}
  OwnedFifoProducer(RxFifo fifo, DaemonArena& arena, uint32_t size) : OwnedFifoProducer() {
    open(fifo, arena, size);
  }
  OwnedFifoProducer(const OwnedFifoProducer&) = delete;
  OwnedFifoProducer& operator=(const OwnedFifoProducer&) = delete;
  ~OwnedFifoProducer() { release(); }
  void open(RxFifo fifo, DaemonArena& arena, uint32_t size) noexcept {
    release();
    own = PrivateProducer(size, fifo.producer.tail.load(std::memory_order_relaxed));
    DaemonFifoProducer::operator=(DaemonFifoProducer(fifo, arena, own));
  }
};

class OwnedFifoConsumer : FifoState<PrivateCursor>, public DaemonFifoConsumer {
 public:
  OwnedFifoConsumer() : DaemonFifoConsumer(own) {}
  OwnedFifoConsumer(TxFifo fifo, const SegmentTable& table, uint32_t size) : OwnedFifoConsumer() {
    open(fifo, table, size);
  }
  OwnedFifoConsumer(const OwnedFifoConsumer&) = delete;
  OwnedFifoConsumer& operator=(const OwnedFifoConsumer&) = delete;
  void open(TxFifo fifo, const SegmentTable& table, uint32_t size) noexcept {
    own = PrivateCursor(size, fifo.consumer.head.load(std::memory_order_relaxed));
    DaemonFifoConsumer::operator=(DaemonFifoConsumer(fifo, table, own));
  }
};

}  // namespace loom::svm
