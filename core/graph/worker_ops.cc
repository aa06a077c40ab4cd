// What Worker's methods do: the table behind Worker::ops.
#include "graph/worker_state.h"

namespace loom {
namespace {

uint32_t alloc(Worker& w, std::span<Buffer*> out) noexcept {
  return WorkerState::of(w).pool.alloc(w, out);
}
void free(Worker& w, std::span<Buffer* const> packets) noexcept {
  WorkerState::of(w).pool.free(w, packets);
}
Buffer* alloc_external(Worker& w, std::span<const std::byte> bytes, ExternalOwner* owner,
                       uint32_t token) noexcept {
  return WorkerState::of(w).pool.alloc_external(w, bytes, owner, token);
}
void timer_start(Worker& w, Timer& t, TimeNs deadline) noexcept {
  WorkerState::of(w).wheel.start(t, deadline);
}
void timer_stop(Worker& w, Timer& t) noexcept { WorkerState::of(w).wheel.stop(t); }
void enqueue_to_node(Worker& w, NodeId node, std::span<Buffer* const> packets) noexcept {
  WorkerState& ws = WorkerState::of(w);
  LOOM_CHECK(node < kMaxNodes && ws.slots[node].rt.info && ws.slots[node].rt.info->run);
  ws.append(node, packets);
}
uint64_t random(Worker& w) noexcept { return WorkerState::of(w).random.next(); }
void post_to_control(Worker& w, void (*fn)(void*), void* arg) noexcept {
  WorkerState::of(w).engine.post_to_control(fn, arg);
}
void hand_off(Worker& w, uint32_t to, NodeId node, std::span<Buffer* const> packets) noexcept {
  WorkerState::of(w).hand_off(to, node, packets);
}
NodeRuntime& node_runtime(Worker& w, NodeId id) noexcept {
  NodeRuntime& rt = WorkerState::of(w).slots[id < kMaxNodes ? id : 0].rt;
  LOOM_CHECK(id < kMaxNodes && rt.info);
  return rt;
}

}  // namespace

const WorkerOps kWorkerOps{.struct_size = sizeof(WorkerOps),
                           .alloc = alloc,
                           .free = free,
                           .alloc_external = alloc_external,
                           .timer_start = timer_start,
                           .timer_stop = timer_stop,
                           .enqueue_to_node = enqueue_to_node,
                           .random = random,
                           .post_to_control = post_to_control,
                           .node_runtime = node_runtime,
                           .hand_off = hand_off};

}  // namespace loom
