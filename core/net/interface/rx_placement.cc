// Which worker polls a receive queue: round robin when an interface comes, then as the operator
// says.
#include <algorithm>

#include "net/interface/control.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

void on_fd(Worker&, int, void* context) noexcept {
  static_cast<InputQueue*>(context)->is_ready = true;
}

// A queue whose fd cannot be watched (two queues share it) is polled every round.
void watch(NetState& s, RxQueue& rx, InputQueue& q) {
  if (rx.event_fd < 0) return;
  const auto ok = s.engine.watch_fd(rx.worker, rx.event_fd, on_fd, &q);
  s.engine.with_barrier([&] { rx.is_watched = ok.has_value(); });
}

}  // namespace

// The worker looks once more behind all that: a call that found nothing before the driver knew has
// armed nothing.
void apply_rx_mode(NetState& s, Interface& f, uint16_t queue) {
  RxQueue& rx = f.rx_queues[queue];
  const RxMode mode = rx.is_watched ? rx.mode.load() : RxMode::kPolling;
  if (mode != rx.told && f.ops->set_rx_mode) f.ops->set_rx_mode(f.device, queue, mode);
  rx.told = mode;
  s.engine.post(rx.worker, [&f, queue](Worker& w) {  // the interface may be gone by then
    for (const auto& q : net_worker(w).inputs)
      if (q->interface == &f && q->queue == queue) q->is_ready = true;
  });
}

void place_queues(NetState& s, Interface& f) {
  std::vector<InputQueue*> placed;
  s.engine.with_barrier([&] {
    for (uint16_t i = 0; i < f.rx_queues.size(); ++i) {
      const uint32_t worker = s.n_placed++ % s.engine.n_workers();
      f.rx_queues[i].worker = worker;
      auto q = std::make_unique<InputQueue>();
      q->interface = &f;
      q->queue = i;
      q->driver_node = &s.engine.worker(worker).node_runtime(f.input_node);
      placed.push_back(q.get());
      s.workers[worker]->inputs.push_back(std::move(q));
    }
  });
  for (uint16_t i = 0; i < f.rx_queues.size(); ++i) {
    watch(s, f.rx_queues[i], *placed[i]);
    if (!f.rx_queues[i].is_watched) apply_rx_mode(s, f, i);
  }
}

Result<void> Net::place_rx_queue(IfIndex index, uint32_t queue, uint32_t worker) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  if (queue >= f->rx_queues.size())
    return error(Status::kNotFound, f->name + " has no receive queue " + std::to_string(queue));
  if (worker >= s.engine.n_workers())
    return error(Status::kInvalid, "worker " + std::to_string(worker) + " is not from 0 to " +
                                       std::to_string(s.engine.n_workers() - 1));
  RxQueue& rx = f->rx_queues[queue];
  if (rx.worker == worker) return {};
  if (rx.is_watched) s.engine.unwatch_fd(rx.worker, rx.event_fd);
  InputQueue* moved = nullptr;
  s.engine.with_barrier([&] {
    auto& from = s.workers[rx.worker]->inputs;
    const auto it = std::find_if(from.begin(), from.end(), [&](const auto& q) {
      return q->interface == f && q->queue == queue;
    });
    moved = it->get();
    moved->driver_node = &s.engine.worker(worker).node_runtime(f->input_node);
    s.workers[worker]->inputs.push_back(std::move(*it));
    from.erase(it);
    rx.worker = worker;
    rx.is_watched = false;
  });
  watch(s, rx, *moved);
  apply_rx_mode(s, *f,
                static_cast<uint16_t>(queue));  // what arrived on the way is found by looking
  return {};
}

}  // namespace loom
