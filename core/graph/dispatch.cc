// The data path of the scheduler: packets from node to node.
//   cost  BM_EnqueueSameNext, BM_EnqueueScatter
#include <algorithm>
#include <cstring>

#include "graph/worker_state.h"

namespace loom {
namespace {

NodeSlot& slot_of(NodeRuntime& rt) noexcept { return *static_cast<NodeSlot*>(rt.impl); }

// Packets that an input node has produced: the place where they can be marked.
void mark_produced(WorkerState& ws, NodeSlot& slot, std::span<Buffer* const> packets) noexcept {
  ws.mark_traced(slot.trace_output, packets);
  ws.trace_arrival(slot, packets);
}

void append_features(WorkerState& ws, std::span<Buffer* const> packets) noexcept {
  for (Buffer* const& b : packets) {
    LOOM_DCHECK(b->feature_arc != 0);
    ws.append(ws.engine.features().next(*b), {&b, 1});
  }
}

void enqueue_one_next(Worker& w, NodeRuntime& rt, std::span<Buffer* const> packets,
                      uint16_t next) noexcept {
  WorkerState& ws = WorkerState::of(w);
  if (packets.empty()) return;
  if (slot_of(rt).trace_output) [[unlikely]]
    mark_produced(ws, slot_of(rt), packets);
  if (next == kNextFeature) return append_features(ws, packets);
  LOOM_DCHECK(next < rt.n_next);
  ws.append(rt.next_nodes[next], packets);
}

// Neighbours mostly go the same way: runs of one next are moved at once.
void enqueue(Worker& w, NodeRuntime& rt, std::span<Buffer* const> packets,
             const uint16_t* next) noexcept {
  WorkerState& ws = WorkerState::of(w);
  if (slot_of(rt).trace_output) [[unlikely]]
    mark_produced(ws, slot_of(rt), packets);
  for (std::size_t i = 0; i < packets.size();) {
    const uint16_t same = next[i];
    std::size_t end = i + 1;
    while (end < packets.size() && next[end] == same) ++end;
    const auto run = packets.subspan(i, end - i);
    if (same == kNextFeature) [[unlikely]] {
      append_features(ws, run);
    } else {
      LOOM_DCHECK(same < rt.n_next);
      ws.append(rt.next_nodes[same], run);
    }
    i = end;
  }
}

void* trace_record(Worker& w, NodeRuntime& rt, Buffer& b, uint32_t size) noexcept {
  WorkerState& ws = WorkerState::of(w);
  if (!b.is_traced() || !ws.trace.active()) return nullptr;
  return ws.trace.append({.packet = b.trace_index,
                          .node = rt.id,
                          .kind = TraceLog::Kind::kRecord,
                          .size = size,
                          .length = b.length(),
                          .time = w.now,
                          .rx_if = b.rx_if,
                          .tx_if = b.tx_if});
}

}  // namespace

const NodeRuntime::Ops kNodeRuntimeOps{
    .enqueue = enqueue, .enqueue_one_next = enqueue_one_next, .trace = trace_record};

void WorkerState::append(NodeId node, std::span<Buffer* const> packets) noexcept {
  NodeSlot& slot = slots[node];
  // Packets that part from their neighbours: a store, not a call (BM_EnqueueScatter/256).
  if (packets.size() == 1 && slot.open && slot.open->n < kFrameSize) {
    slot.open->packets[slot.open->n++] = packets[0];
    return;
  }
  while (!packets.empty()) {
    Frame* f = slot.open;
    if (!f || f->n == kFrameSize) f = slot.open = frames.push(node);
    const auto n = std::min<std::size_t>(kFrameSize - f->n, packets.size());
    std::memcpy(f->packets.data() + f->n, packets.data(), n * sizeof(Buffer*));
    f->n = static_cast<uint16_t>(f->n + n);
    packets = packets.subspan(n);
  }
}

void WorkerState::run_node(NodeSlot& slot, std::span<Buffer* const> packets) noexcept {
  if (trace.active()) [[unlikely]] {
    if (slot.trace_input) mark_traced(slot.trace_input, packets);
    trace_arrival(slot, packets);
  }
  const uint64_t start = __builtin_ia32_rdtsc();
  slot.rt.info->run(w, slot.rt, packets);
  bump(slot.clocks, __builtin_ia32_rdtsc() - start);
  bump(slot.calls, 1);
  bump(slot.packets, packets.size());
}

void WorkerState::run_waiting_frames() noexcept {
  while (!frames.empty() && calls_left != 0) {
    --calls_left;
    Frame* f = frames.pop();
    NodeSlot& slot = slots[f->node];
    if (slot.open == f) slot.open = nullptr;
    w.work += f->n;
    run_node(slot, f->used());
    frames.recycle(f);
  }
}

void WorkerState::mark_traced(uint32_t& left, std::span<Buffer* const> packets) noexcept {
  for (Buffer* b : packets) {
    if (left == 0) return;
    if (b->is_traced()) continue;
    --left;
    b->flags |= kBufferTraced;
    b->trace_index = trace.new_packet();
  }
}

void WorkerState::trace_arrival(NodeSlot& slot, std::span<Buffer* const> packets) noexcept {
  for (Buffer* b : packets) {
    if (!b->is_traced()) continue;
    trace.append({.packet = b->trace_index,
                  .node = slot.rt.id,
                  .kind = TraceLog::Kind::kVisit,
                  .size = 0,
                  .length = b->length(),
                  .time = w.now,
                  .rx_if = b->rx_if,
                  .tx_if = b->tx_if});
  }
}

void WorkerState::free_pending() noexcept {
  while (!frames.empty()) {
    Frame* f = frames.pop();
    if (slots[f->node].open == f) slots[f->node].open = nullptr;
    w.free(f->used());
    frames.recycle(f);
  }
}

}  // namespace loom
