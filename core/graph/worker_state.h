// Everything that the core keeps per worker, behind Worker::impl. Thread: the worker, but for what
// is marked otherwise.
#pragma once
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <hostloom/worker.h>

#include "graph/engine.h"
#include "graph/fd_watches.h"
#include "graph/frame_queue.h"
#include "graph/linger.h"
#include "graph/placement.h"
#include "graph/post_queue.h"
#include "graph/random.h"
#include "graph/round_meter.h"
#include "graph/sleep_clock.h"
#include "graph/trace_log.h"
#include "time/timer_wheel.h"

namespace loom {

// A counter with one writer that other threads read while it runs.
inline void bump(uint64_t& counter, uint64_t n) noexcept {
  __atomic_store_n(&counter, counter + n, __ATOMIC_RELAXED);
}
inline uint64_t read_counter(const uint64_t& counter) noexcept {
  return __atomic_load_n(&counter, __ATOMIC_RELAXED);
}

// A node on one worker.
struct alignas(kCacheLine) NodeSlot {
  NodeRuntime rt{};           // rt.impl points back here
  Frame* open = nullptr;      // the queued frame that still takes packets
  uint32_t trace_input = 0;   // packets yet to be marked as they arrive here, ...
  uint32_t trace_output = 0;  // ... or as they leave: input nodes
  uint64_t calls = 0, packets = 0, clocks = 0;
};

struct FreeDeleter {
  void operator()(void* p) const noexcept { std::free(p); }
};

enum class SleepState : uint32_t {
  kAwake,
  kFallingAsleep,  // posts must wake it; it may still hold pointers into shared tables
  kAsleep,         // holds none: a grace period need not wait for it
};

struct WorkerState {
  WorkerState(Engine& engine, uint32_t index, BufferPool& pool);
  ~WorkerState();
  static WorkerState& of(Worker& w) noexcept { return *static_cast<WorkerState*>(w.impl); }

  Worker w;
  Engine& engine;
  BufferPool& pool;
  std::unique_ptr<NodeSlot[]> slots;  // kMaxNodes: references into it stay good
  std::vector<NodeId> inputs;
  FrameQueue frames;
  TimerWheel wheel;
  FdWatches watches;  // wake(): any thread
  Random random;
  TraceLog trace;
  uint32_t calls_left = 0;  // node calls that this round may still make
  std::vector<std::unique_ptr<uint64_t[], FreeDeleter>> counter_arrays;

  // Scheduler (worker_loop.cc).
  TimeNs last_work = 0;  // when a round last found some
  TimeNs last_fd_look = 0;
  uint32_t empty_rounds = 0;
  bool has_come = false;  // the last round found work that is none of its timers'
  Linger linger;
  uint32_t rounds_since_fd_look = 0;
  bool stopping = false;
  std::optional<Follower> follower;  // while it runs
  std::atomic<int> beside{-1};       // the core that it stays on; any thread may read it
  std::thread thread;

  // Read by other threads.
  alignas(kCacheLine) PostQueue posts;
  std::atomic<SleepState> sleep_state{SleepState::kAwake};
  std::atomic<int> thread_id{0};
  uint64_t rounds = 0, busy_rounds = 0, sleeps = 0, cached_buffers = 0;
  uint64_t long_rounds = 0;  // of kLongRound or more
  TimeNs longest_round = 0;  // since `clear runtime`, which writes 0
  static constexpr TimeNs kLongRound = kMillisecond;
  RoundMeter meter;
  SleepClock asleep;

  // dispatch.cc: the data path.
  void append(NodeId node, std::span<Buffer* const> packets) noexcept;
  void run_node(NodeSlot&, std::span<Buffer* const> packets) noexcept;
  void run_frames() noexcept {
    if (!frames.empty()) run_waiting_frames();
  }
  void run_waiting_frames() noexcept;
  void mark_traced(uint32_t& left, std::span<Buffer* const> packets) noexcept;
  void trace_arrival(NodeSlot&, std::span<Buffer* const> packets) noexcept;
  void free_pending() noexcept;

  // handoff_node.cc: packets for and from other workers.
  void hand_off(uint32_t to, NodeId node, std::span<Buffer* const> packets) noexcept;
  void take_handed_over() noexcept;
  void show_handed_off() noexcept;  // what was handed off in this round, to whom it is for

  // worker_loop.cc.
  uint32_t round() noexcept;  // returns w.work
  void run() noexcept;        // until `stopping`
  void note_round(TimeNs took) noexcept;
  bool is_alone() noexcept;
  void sleep() noexcept;
  void follow(TimeNs now) noexcept;
  void post(PostQueue::Fn fn);      // any thread
  void post(WorkerPost&) noexcept;  // likewise
  // Any thread: it sleeps, and what the caller wrote before is seen by it when it wakes.
  bool is_asleep() noexcept;
  void look_at_fds_next() noexcept;
};

extern const NodeRuntime::Ops kNodeRuntimeOps;  // dispatch.cc
extern const WorkerOps kWorkerOps;              // worker_ops.cc
extern const NodeInfo kDropNode;                // drop_node.cc
extern const NodeInfo kHandoffNode;             // handoff_node.cc

}  // namespace loom
