#include "graph/trace.h"

#include <map>

#include "graph/engine.h"
#include "graph/worker_state.h"

namespace loom {
namespace {

constexpr uint32_t kMaxTraced = 10'000;

// One worker's log, sorted by packet.
std::vector<PacketTrace::Packet> read_log(WorkerState& ws, const NodeRegistry& nodes) {
  std::map<uint32_t, PacketTrace::Packet> packets;
  const auto log = ws.trace.bytes();
  for (std::size_t at = 0; at < log.size();) {
    const auto& e = *reinterpret_cast<const TraceLog::Entry*>(log.data() + at);
    auto& packet = packets.try_emplace(e.packet, PacketTrace::Packet{ws.w.index, {}}).first->second;
    const NodeInfo& info = nodes[e.node].info;
    if (e.kind == TraceLog::Kind::kVisit || packet.visits.empty())
      packet.visits.push_back({.time = e.time,
                               .node = info.name,
                               .rx_if = e.rx_if,
                               .tx_if = e.tx_if,
                               .length = e.length,
                               .detail = {}});
    if (e.kind == TraceLog::Kind::kRecord && info.trace_format) {
      std::string& detail = packet.visits.back().detail;
      if (!detail.empty()) detail += '\n';
      info.trace_format(&e + 1, detail);
    }
    at += sizeof e + (e.size + 7u) / 8 * 8;
  }
  std::vector<PacketTrace::Packet> in_order;
  for (auto& [number, packet] : packets) in_order.push_back(std::move(packet));
  return in_order;
}

template <class F>
void on_all_workers(Engine& engine, F&& fn) {
  for (uint32_t i = 0; i < engine.n_workers(); ++i)
    engine.run_on_worker(i, [&](Worker& w) { fn(WorkerState::of(w)); });
}

}  // namespace

Result<void> PacketTrace::add(std::string_view name, uint32_t n) {
  const NodeId node = engine_.find_node(name);
  if (node == kNoNode) return error(Status::kNotFound, "no node '" + std::string(name) + "'");
  if (n == 0 || n > kMaxTraced)
    return error(Status::kInvalid, "packet count " + std::to_string(n) + " is not from 1 to " +
                                       std::to_string(kMaxTraced));
  const NodeInfo& info = engine_.nodes()[node].info;
  const bool produces = info.kind == NodeKind::kInput || !info.run;
  on_all_workers(engine_, [&](WorkerState& ws) {
    ws.trace.reserve(kLogBytes);
    ws.trace.activate();
    (produces ? ws.slots[node].trace_output : ws.slots[node].trace_input) += n;
  });
  return {};
}

void PacketTrace::clear() {
  on_all_workers(engine_, [&](WorkerState& ws) {
    ws.trace.clear();
    for (std::size_t i = 0; i < kMaxNodes; ++i)
      ws.slots[i].trace_input = ws.slots[i].trace_output = 0;
  });
}

std::vector<PacketTrace::Packet> PacketTrace::packets(std::size_t most) {
  std::vector<Packet> all;
  on_all_workers(engine_, [&](WorkerState& ws) {
    for (auto& packet : read_log(ws, engine_.nodes()))
      if (all.size() < most) all.push_back(std::move(packet));
  });
  return all;
}

uint64_t PacketTrace::lost() {
  uint64_t n = 0;
  on_all_workers(engine_, [&](WorkerState& ws) { n += ws.trace.lost(); });
  return n;
}

}  // namespace loom
