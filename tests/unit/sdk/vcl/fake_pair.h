// A cut-through session of the application under test. The test is the application at the other
// end, and may write all of it.
#pragma once
#include "fake_daemon_impl.h"
#include "svm/bell.h"

namespace loom::test {

struct FakeDaemon::Pair {
  DaemonArena blocks;
  std::unique_ptr<svm::Segment> chunks;
  SegmentTable table;  // of the chunks
  AppArena arena{table};
  size_t session = 0;  // its number in the daemon
  CutThroughShared* shared = nullptr;
  BellShared* bell = nullptr;
  SessionLine* line = nullptr;  // where the other end cannot write
  int doorbell[2] = {-1, -1};   // the application's: reader, writer
  int own_doorbell[2] = {-1, -1};

  static constexpr uint32_t kFifo = 1u << 16;
  // The application is end 0: it writes fifos[0].
  FifoShared& from_app() { return shared->fifos[0]; }
  FifoShared& to_app() { return shared->fifos[1]; }
  BellRow& row() { return bell->rows[0][shared->ends[0].owner.load() % kMaxAppWorkers]; }
  // As an honest end does.
  void ring() {
    if (bell::ring(row(), line->bell_bit)) (void)!write(doorbell[1], "", 1);
  }
  uint32_t send(const std::string& bytes) {
    AppFifoProducer fifo(to_app(), arena, kFifo);
    const uint32_t n = fifo.enqueue(bytes_of(bytes.data(), bytes.size()));
    if (fifo.should_notify()) ring();
    return n;
  }
  ~Pair() {
    for (const int fd : {doorbell[0], doorbell[1], own_doorbell[0], own_doorbell[1]})
      if (fd >= 0) close(fd);
  }
};

}  // namespace loom::test
