// Graph nodes: what a plugin declares, and what its function sees while it runs. The scheduler is
// core/graph/.
#pragma once
#include <array>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <type_traits>

#include <hostloom/buffer.h>

namespace loom {

struct Worker;
struct NodeRuntime;

constexpr std::size_t kFrameSize = 256;    // most packets a node sees in one call
constexpr std::size_t kPrefetchAhead = 4;  // loop distance that hides one L2 miss

// A T for each packet of a frame, without a value until one is assigned: a T whose members have
// default values would cost a frame of few packets as much as a full one (std::array writes them
// all).
template <class T>
class FrameArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  FrameArray() noexcept {}
  T& operator[](std::size_t i) noexcept { return data()[i]; }
  const T& operator[](std::size_t i) const noexcept { return data()[i]; }
  T* data() noexcept { return std::launder(reinterpret_cast<T*>(bytes_)); }
  const T* data() const noexcept { return std::launder(reinterpret_cast<const T*>(bytes_)); }

 private:
  alignas(T) std::byte bytes_[kFrameSize * sizeof(T)];
};

// "The next feature of this packet's arc, or, after the last one, where the arc would have led."
constexpr uint16_t kNextFeature = 0xffff;

using NodeId = uint16_t;
constexpr NodeId kNoNode = 0xffff;

enum class Severity : uint8_t { kInfo, kWarn, kError };

// What became of a packet in a node. Every packet that enters a node (or that an input node
// produces) is counted by that node in exactly one of its counters, also when it goes to "drop":
// node "drop" frees and counts nothing but its own total.
struct CounterInfo {
  const char* name;
  Severity severity;
  const char* help;  // a sentence
};

enum class NodeKind : uint8_t {
  kInternal,  // runs when a frame is pending
  kInput,     // called once per scheduler round, with an empty span; enqueues what it found
};

// What one packet's decision function returns.
template <class Next, class Counter>
struct Verdict {
  Next next;
  Counter counter;
};

// Appends one line (no newline) that describes a traced packet, from what NodeRuntime::trace
// stored.
using TraceFormat = void (*)(const void* record, std::string& out);

using NodeRun = void (*)(Worker&, NodeRuntime&, std::span<Buffer* const>) noexcept;

constexpr std::size_t kMaxStaticNext = 16;

// Plain data with static lifetime.
struct NodeInfo {
  uint32_t struct_size = sizeof(NodeInfo);
  const char* name = nullptr;
  NodeRun run = nullptr;  // null: only a name, for work done inside another node's call; gets no
                          // packets
  NodeKind kind = NodeKind::kInternal;
  std::span<const CounterInfo> counters{};
  std::array<const char*, kMaxStaticNext> next{};  // names; resolved when the graph is built
  TraceFormat trace_format = nullptr;
};

// The per-worker, per-node state that the function is handed.
struct NodeRuntime {
  NodeId id;
  uint16_t n_next;
  uint32_t trace_record_size;
  const NodeInfo* info;
  NodeId* next_nodes;  // local next index -> node
  uint64_t* counters;  // info->counters.size() entries, this worker's
  void* impl;          // core's

  struct Ops {
    void (*enqueue)(Worker&, NodeRuntime&, std::span<Buffer* const>, const uint16_t* next) noexcept;
    void (*enqueue_one_next)(Worker&, NodeRuntime&, std::span<Buffer* const>,
                             uint16_t next) noexcept;
    void* (*trace)(Worker&, NodeRuntime&, Buffer&, uint32_t size) noexcept;
  };
  const Ops* ops;
  Worker* worker;

  // Hands each packet to its next node; the packets are no longer the caller's.
  template <std::size_t N>
  void enqueue(std::span<Buffer* const> in, const std::array<uint16_t, N>& next) noexcept {
    ops->enqueue(*worker, *this, in, next.data());
  }
  void enqueue(std::span<Buffer* const> in, const uint16_t* next) noexcept {
    ops->enqueue(*worker, *this, in, next);
  }
  void enqueue_all(std::span<Buffer* const> in, uint16_t next) noexcept {
    ops->enqueue_one_next(*worker, *this, in, next);
  }
  // Counters have one writer, the worker; others read them at any time.
  void count(uint16_t counter, uint64_t n = 1) noexcept {
    __atomic_store_n(&counters[counter], counters[counter] + n, __ATOMIC_RELAXED);
  }
  template <std::size_t N>
  void add_counters(const std::array<uint32_t, N>& counts) noexcept {
    // Most are 0, and few packets in a frame pay for all of them: four at once.
    std::size_t i = 0;
    for (; i + 4 <= N; i += 4) {
      if ((counts[i] | counts[i + 1] | counts[i + 2] | counts[i + 3]) == 0) continue;
      for (std::size_t k = i; k < i + 4; ++k) count(static_cast<uint16_t>(k), counts[k]);
    }
    for (; i < N; ++i) count(static_cast<uint16_t>(i), counts[i]);
  }
  // Storage for this packet's trace record of type T (plain data), or nullptr when the trace is
  // full. Call only for buffers with is_traced().
  template <class T>
  T* trace(Buffer& b) noexcept {
    return static_cast<T*>(ops->trace(*worker, *this, b, sizeof(T)));
  }
  // Notes why a packet goes to node "drop", for packet traces and captures. It counts nothing: the
  // node has counted the packet in that counter already.
  void set_error(Buffer& b, uint16_t counter) noexcept {
    b.error_node = id;
    b.error_counter = counter;
  }
};

}  // namespace loom
