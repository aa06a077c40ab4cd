// Node "interface-input": polls the rx queues that are placed on the worker, by their drivers.
//   out   what the driver says: ethernet-input, or ip4-input and ip6-input
// A queue whose fd can wake the worker is polled only after the fd fired and for as long as polls
// find packets, so an idle worker sleeps. The work is shown under the driver's own node
// (tap-input).
#include "net/interface/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

// True when nothing but looking tells whether there are packets.
bool must_poll(const InputQueue& q) noexcept {
  const RxQueue& rx = q.interface->rx_queues[q.queue];
  return !rx.is_watched || rx.mode.load(std::memory_order_relaxed) == RxMode::kPolling;
}

void interface_input(Worker& w, NodeRuntime&, std::span<Buffer* const>) noexcept {
  NetWorker& net = net_worker(w);
  for (auto& q : net.inputs) {
    Interface& f = *q->interface;
    if (!must_poll(*q) && !q->is_ready) continue;
    if (!f.is_admin_up.load(std::memory_order_relaxed)) {
      q->is_ready = false;
      continue;
    }
    const uint64_t start = __builtin_ia32_rdtsc();
    const uint32_t n = f.ops->rx(w, *q->driver_node, f.device, q->queue);
    q->is_ready = n != 0;
    if (n == 0) continue;
    w.work += n;
    Engine::add_runtime(w, q->driver_node->id, n, __builtin_ia32_rdtsc() - start);
  }
}

}  // namespace

bool may_sleep(Worker& w, void*) noexcept {
  for (const auto& q : net_worker(w).inputs)
    if (must_poll(*q) && q->interface->is_admin_up.load(std::memory_order_relaxed)) return false;
  return true;
}

const NodeInfo kInterfaceInput{
    .name = "interface-input", .run = interface_input, .kind = NodeKind::kInput};

}  // namespace loom
