// Node "drop": where packets end that nobody wants. Frees them, and shows them to traces and
// captures.
//   in    anything; NodeRuntime::set_error may have noted who dropped it and why
//   out   nothing
// The node that sent a packet here has counted it; this node counts only how many there were.
#include <string>

#include "graph/worker_state.h"

namespace loom {
namespace {

constexpr CounterInfo kCounters[] = {
    {"dropped", Severity::kInfo, "packets freed; the node they came from has counted the reason"}};

struct DropRecord {
  const char* node;  // null: nobody noted a reason
  const char* reason;
};

void format_drop(const void* record, std::string& out) {
  const auto& r = *static_cast<const DropRecord*>(record);
  if (!r.node) return;
  out.append(r.node).append(": ").append(r.reason);
}

DropRecord reason_of(WorkerState& ws, const Buffer& b) noexcept {
  const NodeInfo* info = b.error_node < kMaxNodes ? ws.slots[b.error_node].rt.info : nullptr;
  // Node 0 is "drop" itself: what a fresh buffer says.
  if (b.error_node == 0 || !info || b.error_counter >= info->counters.size()) return {};
  return {info->name, info->counters[b.error_counter].name};
}

void drop(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  WorkerState& ws = WorkerState::of(w);
  if (ws.trace.active()) [[unlikely]] {
    for (Buffer* b : in)
      if (b->is_traced())
        if (auto* record = rt.trace<DropRecord>(*b)) *record = reason_of(ws, *b);
  }
  if (ws.engine.pcap_enabled()) [[unlikely]]
    ws.engine.pcap().capture(w, kPcapDrop, in);
  rt.count(0, in.size());
  w.free(in);
}

}  // namespace

const NodeInfo kDropNode{
    .name = "drop", .run = drop, .counters = kCounters, .trace_format = format_drop};

}  // namespace loom
