// Packets that only worker 0 may handle (ARP, neighbour discovery, packets that wait for a
// neighbour) on their way there from the worker that has them. One bounded ring per source worker;
// worker 0 is told once per batch.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include <hostloom/worker.h>

namespace loom {

class Engine;

class NeighborHandoff {
 public:
  static constexpr uint32_t kRing = 256;

  explicit NeighborHandoff(Engine& engine);
  // Any worker but 0. Takes ownership when it returns true; false: the ring is full.
  bool push(Worker& from, NodeId node, Buffer* packet) noexcept;
  // Worker 0, or workers have stopped. Hands everything to its node.
  void drain(Worker& w0) noexcept;

 private:
  struct Entry {
    Buffer* packet;
    NodeId node;
  };
  struct Ring {
    alignas(kCacheLine) std::atomic<uint32_t> head{0};  // written by the source
    alignas(kCacheLine) std::atomic<uint32_t> tail{0};  // written by worker 0
    std::array<Entry, kRing> entries;
  };
  Engine& engine_;
  std::vector<std::unique_ptr<Ring>> rings_;  // by source worker
  std::atomic<bool> is_told_{false};
};

}  // namespace loom
