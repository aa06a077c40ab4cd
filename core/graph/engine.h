// The graph engine: nodes, the workers that run them, and how the control thread talks to workers.
//
// Life: create -> add_node, features().arc, ... -> build -> start -> stop. Tests leave start out
// and call step(), which runs one scheduler round of a worker in the calling thread; with a clock
// of their own they run in virtual time. Any number of engines can live in one process.
//
// Threads: every call is for the control thread (the one thread that is not a worker and configures
// things), unless said otherwise. While workers do not run, calls that "run on a worker" run at
// once in the caller.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/cli.h>
#include <hostloom/node.h>
#include <hostloom/status.h>
#include <hostloom/worker.h>

#include "buffer/pool.h"
#include "event_log/event_log.h"
#include "graph/features.h"
#include "graph/handoff.h"
#include "graph/node_registry.h"
#include "graph/pcap.h"
#include "graph/runtime_stats.h"
#include "graph/trace.h"

namespace loom {

struct WorkerState;  // graph/worker_state.h

using ClockFn = TimeNs (*)(void* context) noexcept;

struct EngineConfig {
  uint32_t n_workers = 1;
  std::vector<int> corelist{};  // worker i is pinned to corelist[i]; empty = not pinned
  BufferConfig buffers{};
  ClockFn clock = nullptr;  // null = CLOCK_MONOTONIC; must return more than 0 and never go back
  void* clock_context = nullptr;
  bool poll_mode = false;    // never sleep
  bool follows = false;      // a worker that is not pinned goes to who wakes it (placement.h)
  uint32_t spin_rounds = 8;  // empty rounds before a worker sleeps, and ...
  TimeNs spin_time = 0;      // ... how long it then looks on, if it pays (linger.h)
};

// Called around a worker's sleep, on the worker. before: may say that there is work after all
// (false), and then the worker does not sleep. It runs after the worker has declared itself asleep
// to post(), so a producer that looks at a "sleeping" flag set by `before` cannot be missed as long
// as `before` checks its queue once more after setting the flag. after: called for each hook whose
// before returned true, when the worker is awake again. is_alone: nobody who gives the worker work
// in that way is awake now, so it may look on before it sleeps (linger.h). Each may be null.
struct SleepHook {
  bool (*before)(Worker&, void* context) noexcept = nullptr;
  void (*after)(Worker&, void* context) noexcept = nullptr;
  bool (*is_alone)(Worker&, void* context) noexcept = nullptr;
  void* context = nullptr;
};

// fd is readable, at its end, or in error: a read tells which. Level-triggered: called again until
// it has been read empty or unwatched.
using FdReadable = void (*)(Worker&, int fd, void* context) noexcept;

class Engine {
 public:
  // Errors: kInvalid, a value out of its domain; kNoMemory, no memory for the buffers; kIo.
  static Result<std::unique_ptr<Engine>> create(EngineConfig);
  ~Engine();  // stops the workers if they run
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // --- Graph
  // --------------------------------------------------------------------------------------- Takes a
  // copy of `info`; its names must live as long as the engine. At any time: after build() the
  // workers are stopped for a moment, and a next node that does not exist yet means "drop" until it
  // is added or the next build() refuses it. Errors: kExists, kInvalid.
  Result<NodeId> add_node(const NodeInfo& info);
  NodeId find_node(std::string_view name) const { return nodes_.find(name); }  // kNoNode: none
  // Adds an arc at run time and returns `from`'s index for it; the same index when it exists.
  Result<uint16_t> add_next(NodeId from, NodeId to);
  // The node's function is not called again: what reaches it goes to "drop". For the nodes of a
  // plugin that was refused.
  void retire_node(NodeId);
  // Resolves the names of next nodes. Errors: kNotFound, naming node and arc.
  Result<void> build();
  const NodeRegistry& nodes() const noexcept { return nodes_; }
  NodeId drop_node() const noexcept { return drop_node_; }  // "drop": frees what it gets
  // "worker-handoff": counts what Worker::hand_off takes over.
  NodeId handoff_node() const noexcept { return handoff_node_; }
  FeatureArcs& features() noexcept { return features_; }

  // --- Workers
  // -------------------------------------------------------------------------------------
  uint32_t n_workers() const noexcept { return static_cast<uint32_t>(workers_.size()); }
  Worker& worker(uint32_t index) noexcept;
  static Engine& of(Worker&) noexcept;  // any thread
  Result<void> start();                 // build() has succeeded
  void stop();                          // joins the workers; packets that are under way are freed
  void free_pending();                  // the same, while no worker runs
  bool is_running() const noexcept { return running_; }
  // One full round of a worker in the calling thread: inputs, frames, timers, fds, posts. Only
  // while workers do not run. Returns the units of work it found. Runs what was posted to the
  // control thread, too, when there is no control executor.
  uint32_t step(uint32_t worker_index = 0);
  TimeNs clock_now() const noexcept { return config_.clock(config_.clock_context); }  // any thread
  // When the worker's next timer fires, for tests that move the clock.
  std::optional<TimeNs> next_deadline(uint32_t worker_index) const noexcept;
  uint32_t allocate_worker_slot();  // index into Worker::plugin_data

  // Any thread: runs fn on the worker, between two rounds. What is posted by one thread to one
  // worker runs in order.
  void post(uint32_t worker_index, std::move_only_function<void(Worker&)> fn);
  void post(uint32_t worker_index, WorkerPost&) noexcept;  // the same, without memory of ours
  // Control thread or that worker: runs fn on the worker and waits for it.
  void run_on_worker(uint32_t worker_index, const std::function<void(Worker&)>& fn);
  // Runs fn while every worker stands between two rounds. May be nested. Never from a worker.
  void with_barrier(const std::function<void()>& fn);
  // Any thread: runs fn on the control thread once every worker has begun a new round since, so
  // that nothing that was unlinked before the call is in use any more.
  void after_grace(std::move_only_function<void()> fn);
  // Any thread: runs fn(arg) on the control thread soon, through the executor, or else in the next
  // step().
  void post_to_control(void (*fn)(void*), void* arg);
  void post_to_control(std::move_only_function<void()> fn);
  using ControlExecutor = void (*)(void* context, void (*fn)(void*), void* arg);
  void set_control_executor(ControlExecutor, void* context);

  // --- Sleep and wake
  // ------------------------------------------------------------------------------
  void add_sleep_hook(const SleepHook&);  // while workers do not run
  // Control thread or that worker. The worker looks at the fd when it sleeps, and every 64 rounds
  // or 100 us when it does not. A null fn only ends the sleep (for queues that an input node
  // polls). Errors: kExists, kIo.
  Result<void> watch_fd(uint32_t worker_index, int fd, FdReadable fn, void* context);
  // On return fn is not running and will not be called again. Before fd is closed.
  void unwatch_fd(uint32_t worker_index, int fd);

  // --- Looking inside
  // ------------------------------------------------------------------------------ Driver work that
  // is done inside another node's call, shown under the driver's own node.
  static void add_runtime(Worker&, NodeId, uint64_t packets, uint64_t clocks) noexcept;
  // Whether packets that worker `from` has handed to worker `to` (another one) wait with it, as
  // that does not keep up: for what had better be dropped then. On worker `from`.
  bool hand_off_waits(uint32_t from, uint32_t to) const noexcept {
    return handoff_.has_waiting(from, to);
  }
  RuntimeStats& stats() noexcept { return stats_; }
  // What happens beside packets. Workers note their sleeps in it, the control thread its barriers.
  EventLog& events() noexcept { return events_; }
  PacketTrace& trace() noexcept { return trace_; }
  // pcap taps. Drivers' callers: `if (e.pcap_enabled()) [[unlikely]] e.pcap().capture(w, point,
  // in)`.
  bool pcap_enabled() const noexcept { return pcap_.enabled(); }
  Pcap& pcap() noexcept { return pcap_; }
  const std::vector<BufferPool*>& buffer_pools() const noexcept { return pool_list_; }
  BufferPool& pool_of(uint32_t worker_index) noexcept;
  // Host::place_buffers. Errors: kExists, kInUse (workers run, or a buffer is in use), kInvalid,
  // and what `provide` says.
  Result<void> place_buffers(const BufferPlacement&);
  const EngineConfig& config() const noexcept { return config_; }
  // A copy of the command whose context is this engine, and which lives as long as it
  // (graph/cli.cc).
  const CliCommand& own_command(const CliCommand&);

 private:
  friend struct WorkerState;
  friend class RuntimeStats;
  friend class PacketTrace;
  explicit Engine(EngineConfig);
  Result<void> open_workers();
  Result<std::vector<SharedMemory>> own_memories(uint32_t front, uint64_t page_size);
  void install_node(NodeId);
  void refresh_arcs();
  void run_control_queue();
  bool is_on_worker(const WorkerState&) const noexcept;
  bool stands_still() const noexcept { return !running_ || barrier_depth_ > 0; }

  EngineConfig config_;
  EventLog events_;
  std::vector<std::unique_ptr<BufferPool>> pools_;
  std::vector<BufferPool*> pool_list_;  // by pool index
  bool are_buffers_placed_ = false;
  NodeRegistry nodes_;
  NodeId drop_node_ = kNoNode, handoff_node_ = kNoNode;
  bool built_ = false;
  Handoff handoff_;
  std::vector<std::unique_ptr<WorkerState>> workers_;
  std::atomic<bool> running_{false};
  uint32_t barrier_depth_ = 0;
  uint32_t n_slots_ = 0;
  std::vector<SleepHook> sleep_hooks_;
  std::mutex control_lock_;  // guards control_queue_
  std::vector<std::move_only_function<void()>> control_queue_;
  ControlExecutor executor_ = nullptr;
  void* executor_context_ = nullptr;
  FeatureArcs features_;
  RuntimeStats stats_;
  PacketTrace trace_;
  Pcap pcap_;
  std::deque<CliCommand> commands_;
};

}  // namespace loom
