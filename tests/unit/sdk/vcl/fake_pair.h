// A cut-through session of the application under test, or a link of a datagram session. The test is
// the application at the other end, and may write all of it.
#pragma once
#include "fake_daemon_impl.h"
#include "svm/bell.h"
#include "svm/datagram.h"
#include "svm/datagram_links.h"

namespace loom::test {

struct FakeDaemon::Pair {
  DaemonArena blocks;
  std::unique_ptr<svm::Segment> chunks;
  SegmentTable table;  // of the chunks
  AppArena arena{table};
  size_t session = 0;  // its number in the daemon
  CutThroughShared* shared = nullptr;
  BellShared* bell = nullptr;
  SessionLine* line = nullptr;     // where the other end cannot write
  DatagramLinks* links = nullptr;  // of a datagram session, which has one in slot 0
  int doorbell[2] = {-1, -1};      // the application's: reader, writer
  int own_doorbell[2] = {-1, -1};

  static constexpr uint32_t kFifo = 1u << 16, kBit = 3;
  // The application is end 0: it writes fifos[0].
  FifoShared& from_app() { return shared->fifos[0]; }
  FifoShared& to_app() { return shared->fifos[1]; }
  BellRow& row() { return bell->rows[0][shared->ends[0].owner.load() % kMaxAppWorkers]; }
  // As an honest end does.
  void ring() {
    if (bell::ring(row(), kBit)) (void)!write(doorbell[1], "", 1);
  }
  uint32_t send(const std::string& bytes) { return send(to_app(), bytes); }
  uint32_t send(FifoShared& shared_fifo, const std::string& bytes) {
    AppFifoProducer fifo(shared_fifo, arena, kFifo);
    const uint32_t n = fifo.enqueue(bytes_of(bytes.data(), bytes.size()));
    if (fifo.should_notify()) ring();
    return n;
  }
  DatagramLinkSlot& slot(uint32_t i = 0) { return link_slots(*links)[i]; }
  // As the daemon does.
  void set_link(uint32_t serial, LinkState state, uint32_t i = 0) {
    slot(i).word.store(link_word(serial, state));
    links->version.fetch_add(1);
  }
  // When the other session has closed.
  void end_link(uint32_t serial) {
    shared->ends[1].stopped.store(1);
    set_link(serial, kLinkEnded);
  }
  uint32_t send_datagram(DatagramHeader h, const std::string& payload) {
    return send_datagram(to_app(), h, payload);
  }
  uint32_t send_datagram(FifoShared& fifo, DatagramHeader h, const std::string& payload) {
    return send(fifo, std::string(reinterpret_cast<const char*>(&h), sizeof h) + payload);
  }
  uint32_t send_datagram(const std::string& payload) {
    DatagramHeader h{};
    h.length = static_cast<uint32_t>(payload.size());
    return send_datagram(h, payload);
  }
  // What the application has sent by the link, datagram by datagram.
  std::vector<std::pair<DatagramHeader, std::string>> sent() {
    std::vector<std::pair<DatagramHeader, std::string>> all;
    AppFifoConsumer fifo(from_app(), table, kFifo);
    while (fifo.refresh() >= sizeof(DatagramHeader)) {
      auto& [h, payload] = all.emplace_back();
      fifo.dequeue(std::as_writable_bytes(std::span(&h, 1)));
      payload.resize(h.length);
      fifo.dequeue(std::as_writable_bytes(std::span(payload)));
    }
    return all;
  }
  ~Pair() {
    for (const int fd : {doorbell[0], doorbell[1], own_doorbell[0], own_doorbell[1]})
      if (fd >= 0) close(fd);
  }
};

}  // namespace loom::test
