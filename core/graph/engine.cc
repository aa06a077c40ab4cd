// Life of an engine: making the workers, building the graph, starting and stopping.
#include "graph/engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "graph/worker_state.h"

namespace loom {
namespace {

constexpr uint32_t kMaxWorkers = 64;
constexpr int kMostPassesAtStop = 64;

TimeNs monotonic_clock(void*) noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

// The NUMA node of a core, as Linux's sysfs has it; -1 when it does not say.
int numa_node_of_core(int core) {
  for (int node = 0; node < 64; ++node) {
    char path[96];
    std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/node%d", core, node);
    if (access(path, F_OK) == 0) return node;
  }
  return -1;
}

Result<void> check(const EngineConfig& config) {
  if (config.n_workers == 0 || config.n_workers > kMaxWorkers)
    return error(Status::kInvalid, "workers " + std::to_string(config.n_workers) +
                                       " is not from 1 to " + std::to_string(kMaxWorkers));
  if (!config.corelist.empty() && config.corelist.size() < config.n_workers)
    return error(Status::kInvalid, "corelist-workers names " +
                                       std::to_string(config.corelist.size()) + " cores for " +
                                       std::to_string(config.n_workers) + " workers");
  for (const int core : config.corelist)
    if (core < 0 || core >= CPU_SETSIZE || core >= sysconf(_SC_NPROCESSORS_CONF))
      return error(Status::kInvalid,
                   "corelist-workers: this machine has no core " + std::to_string(core));
  return {};
}

}  // namespace

WorkerState::WorkerState(Engine& e, uint32_t index, BufferPool& p)
    : engine(e), pool(p), slots(std::make_unique<NodeSlot[]>(kMaxNodes)), wheel(e.clock_now()) {
  w.index = index;
  w.ops = &kWorkerOps;
  w.impl = this;
  w.now = e.clock_now();
}

WorkerState::~WorkerState() { pool.flush_cache(w); }

Engine::Engine(EngineConfig config)
    : config_(std::move(config)),
      events_(config_.n_workers),
      handoff_(config_.n_workers),
      features_(*this),
      stats_(*this),
      trace_(*this),
      pcap_(*this) {
  if (!config_.clock) config_.clock = monotonic_clock;
}

Result<std::unique_ptr<Engine>> Engine::create(EngineConfig config) {
  if (auto ok = check(config); !ok) return std::move(ok).error();
  std::unique_ptr<Engine> engine(new Engine(std::move(config)));
  if (auto ok = engine->open_workers(); !ok) return std::move(ok).error();
  auto drop = engine->add_node(kDropNode);
  LOOM_CHECK(drop.has_value() && *drop == 0);
  engine->drop_node_ = *drop;
  auto handoff = engine->add_node(kHandoffNode);
  LOOM_CHECK(handoff.has_value());
  engine->handoff_node_ = *handoff;
  return engine;
}

// One buffer pool for each NUMA node that a worker is pinned to; one for all when none is pinned.
Result<void> Engine::open_workers() {
  std::vector<int> numa_of_pool;
  for (uint32_t i = 0; i < config_.n_workers; ++i) {
    const int node = config_.corelist.empty() ? -1 : numa_node_of_core(config_.corelist[i]);
    auto at = std::find(numa_of_pool.begin(), numa_of_pool.end(), node);
    if (at == numa_of_pool.end()) {
      auto pool =
          BufferPool::create(config_.buffers, static_cast<uint16_t>(numa_of_pool.size()), node);
      if (!pool) return std::move(pool).error();
      pools_.push_back(*std::move(pool));
      pool_list_.push_back(pools_.back().get());
      at = numa_of_pool.insert(numa_of_pool.end(), node);
    }
    BufferPool& pool = *pools_[static_cast<std::size_t>(at - numa_of_pool.begin())];
    workers_.push_back(std::make_unique<WorkerState>(*this, i, pool));
    if (auto ok = workers_.back()->watches.open(); !ok) return ok;
  }
  for (auto& pool : pools_) pool->set_peers(pool_list_);
  return {};
}

namespace {

// What a driver lends for a pool, looked at.
Result<SharedMemory> lent_memory(const BufferPlacement& p, const BufferPool& pool, int numa_node) {
  const std::size_t size = pool.bytes_with(p.front);
  std::span<std::byte> lent;
  uint64_t page_size = 0;
  std::string message;
  const Status status =
      p.provide(p.context, pool.index(), size, numa_node, &lent, &page_size, &message);
  if (status != Status::kOk) return error(status, message);
  if (lent.size() < size || reinterpret_cast<uintptr_t>(lent.data()) % kCacheLine != 0)
    return error(Status::kInvalid, "memory of " + std::to_string(lent.size()) +
                                       " bytes does not hold the buffers of pool " +
                                       std::to_string(pool.index()));
  return SharedMemory::lent(lent, page_size);
}

}  // namespace

// Memory of the core's own for the pools, which have none.
Result<std::vector<SharedMemory>> Engine::own_memories(uint32_t front, uint64_t page_size) {
  std::vector<SharedMemory> memories;
  for (const BufferPool* pool : pool_list_) {
    auto own = SharedMemory::create("hostloom-buffers", pool->bytes_with(front), page_size,
                                    pool->stats().numa_node);
    if (!own) return std::move(own).error();
    memories.push_back(*std::move(own));
  }
  return memories;
}

// The pools give their memory back first: there may be huge pages for them once, but not twice. All
// of the next is there and looked at before a pool moves into it. A driver that has none leaves the
// pools in memory like that of before, if need be on pages of another size.
Result<void> Engine::place_buffers(const BufferPlacement& p) {
  if (are_buffers_placed_)
    return error(Status::kExists, "the buffers are another driver's already");
  if (running_) return error(Status::kInUse, "the workers run already");
  if (p.front % kCacheLine != 0 || p.front > kMostBufferFront)
    return error(Status::kInvalid, "an area of " + std::to_string(p.front) +
                                       " bytes before each buffer is not whole cache lines of at "
                                       "most " +
                                       std::to_string(kMostBufferFront) + " bytes");
  for (BufferPool* pool : pool_list_)
    if (const auto stats = pool->stats(); stats.free != stats.total)
      return error(Status::kInUse, "buffers are in use");
  for (BufferPool* pool : pool_list_)
    if (auto vacated = pool->vacate(); !vacated) return vacated;
  const auto move = [&](std::vector<SharedMemory>& memories, uint32_t front) -> Result<void> {
    for (std::size_t i = 0; i < pool_list_.size(); ++i)
      if (auto moved = pool_list_[i]->move_to(std::move(memories[i]), front); !moved) return moved;
    return {};
  };
  auto memories = p.provide ? Result<std::vector<SharedMemory>>(std::vector<SharedMemory>())
                            : own_memories(p.front, config_.buffers.page_size);
  for (std::size_t i = 0; p.provide && memories && i < pool_list_.size(); ++i) {
    auto lent = lent_memory(p, *pool_list_[i], pool_list_[i]->stats().numa_node);
    if (lent)
      memories->push_back(*std::move(lent));
    else
      memories = std::move(lent).error();
  }
  if (memories) {
    auto moved = move(*memories, p.front);
    are_buffers_placed_ = moved.has_value();
    return moved;
  }
  auto refused = std::move(memories).error();
  auto own = own_memories(0, config_.buffers.page_size);
  if (!own) own = own_memories(0, 0);
  if (!own) return error(Status::kNoMemory, refused.message + "; and " + own.error().message);
  if (auto back = move(*own, 0); !back) return back;
  return refused;
}

Engine::~Engine() {
  stop();
  free_pending();
}

void Engine::free_pending() {
  handoff_.take_all([&](std::span<Buffer* const> packets) { workers_[0]->w.free(packets); });
  for (auto& ws : workers_) ws->free_pending();
}

// --- Graph
// ----------------------------------------------------------------------------------------

Result<NodeId> Engine::add_node(const NodeInfo& info) {
  Result<NodeId> id = kNoNode;
  with_barrier([&] {
    id = nodes_.add(info);
    if (!id) return;
    install_node(*id);
    // Whoever waited for this name finds it now; what is still missing leads to "drop".
    (void)nodes_.resolve(0);
    refresh_arcs();
  });
  return id;
}

Result<uint16_t> Engine::add_next(NodeId from, NodeId to) {
  Result<uint16_t> next = uint16_t{0};
  with_barrier([&] {
    next = nodes_.add_next(from, to);
    refresh_arcs();
  });
  return next;
}

void Engine::retire_node(NodeId id) {
  with_barrier([&] {
    NodeInfo& info = nodes_[id].info;
    if (!info.run) return;  // only a name
    info.run = [](Worker& w, NodeRuntime&, std::span<Buffer* const> in) noexcept {
      w.enqueue_to_node(Engine::of(w).drop_node(), in);
    };
    for (auto& ws : workers_) std::erase(ws->inputs, id);
  });
}

Result<void> Engine::build() {
  Result<void> result;
  with_barrier([&] {
    result = nodes_.resolve(drop_node_);
    refresh_arcs();
  });
  built_ = built_ || result.has_value();
  return result;
}

void Engine::install_node(NodeId id) {
  const NodeInfo& info = nodes_[id].info;
  for (auto& ws : workers_) {
    // A node's counters on a worker share no cache line with anything else.
    const std::size_t bytes =
        (info.counters.size() * sizeof(uint64_t) + kCacheLine - 1) / kCacheLine * kCacheLine;
    auto* counters =
        static_cast<uint64_t*>(std::aligned_alloc(kCacheLine, std::max(bytes, kCacheLine)));
    LOOM_CHECK(counters);
    std::memset(counters, 0, std::max(bytes, kCacheLine));
    ws->counter_arrays.emplace_back(counters);
    NodeSlot& slot = ws->slots[id];
    slot.rt = NodeRuntime{.id = id,
                          .n_next = 0,
                          .trace_record_size = 0,
                          .info = &info,
                          .next_nodes = nullptr,
                          .counters = counters,
                          .impl = &slot,
                          .ops = &kNodeRuntimeOps,
                          .worker = &ws->w};
    if (info.kind == NodeKind::kInput && info.run) ws->inputs.push_back(id);
  }
}

void Engine::refresh_arcs() {
  for (std::size_t id = 0; id < nodes_.size(); ++id) {
    auto& next = nodes_[static_cast<NodeId>(id)].next;
    for (auto& ws : workers_) {
      ws->slots[id].rt.n_next = static_cast<uint16_t>(next.size());
      ws->slots[id].rt.next_nodes = next.data();
    }
  }
}

// --- Workers
// --------------------------------------------------------------------------------------

Worker& Engine::worker(uint32_t index) noexcept { return workers_[index]->w; }
Engine& Engine::of(Worker& w) noexcept { return WorkerState::of(w).engine; }
BufferPool& Engine::pool_of(uint32_t index) noexcept { return workers_[index]->pool; }

uint32_t Engine::allocate_worker_slot() {
  LOOM_CHECK(n_slots_ < kMaxPluginSlots);
  return n_slots_++;
}

void Engine::add_sleep_hook(const SleepHook& hook) {
  LOOM_CHECK(!running_);
  sleep_hooks_.push_back(hook);
}

std::optional<TimeNs> Engine::next_deadline(uint32_t index) const noexcept {
  return workers_[index]->wheel.next_deadline();
}

Result<void> Engine::start() {
  LOOM_CHECK(built_ && !running_);
  running_ = true;
  // New threads inherit the mask: signals are for the control thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  for (auto& ws : workers_) {
    ws->stopping = false;
    ws->linger.use(config_.spin_time);
    ws->thread = std::thread([s = ws.get()] {
      char name[16];
      std::snprintf(name, sizeof name, "loom-w%u", s->w.index);
      pthread_setname_np(pthread_self(), name);
      s->thread_id.store(static_cast<int>(syscall(SYS_gettid)));
      s->run();
    });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (uint32_t i = 0; i < workers_.size() && !config_.corelist.empty(); ++i) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<std::size_t>(config_.corelist[i]), &cores);
    const int code =
        pthread_setaffinity_np(workers_[i]->thread.native_handle(), sizeof cores, &cores);
    if (code != 0) {
      stop();
      return error(Status::kPermission,
                   "worker " + std::to_string(i) + " cannot be pinned to core " +
                       std::to_string(config_.corelist[i]) + ": " + std::strerror(code));
    }
  }
  return {};
}

void Engine::stop() {
  if (!running_) return;
  for (auto& ws : workers_) ws->post([s = ws.get()](Worker&) { s->stopping = true; });
  for (auto& ws : workers_) ws->thread.join();
  running_ = false;
  // What was posted to a worker that had stopped already, and what that posts in turn.
  for (auto& ws : workers_) ws->thread_id.store(0);
  // At most so often: what is posted again and again goes on after that (run_on_worker).
  bool again = true;
  for (int passes = 0; again && passes < kMostPassesAtStop; ++passes) {
    again = false;
    for (auto& ws : workers_) again |= ws->posts.run(ws->w) != 0;
  }
  // Plugins free what timers are in before the core stops its own, which are in the same lists.
  for (auto& ws : workers_) ws->wheel.stop_all();
  free_pending();
}

uint32_t Engine::step(uint32_t index) {
  LOOM_CHECK(!running_ && index < workers_.size());
  WorkerState& ws = *workers_[index];
  ws.look_at_fds_next();
  const uint32_t work = ws.round();
  if (!executor_) run_control_queue();
  return work;
}

const CliCommand& Engine::own_command(const CliCommand& command) {
  commands_.push_back(command);
  commands_.back().context = this;
  return commands_.back();
}

void Engine::add_runtime(Worker& w, NodeId node, uint64_t packets, uint64_t clocks) noexcept {
  NodeSlot& slot = WorkerState::of(w).slots[node];
  bump(slot.calls, 1);
  bump(slot.packets, packets);
  bump(slot.clocks, clocks);
}

}  // namespace loom
