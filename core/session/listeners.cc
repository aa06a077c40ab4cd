// Listening endpoints come and go on the control thread, which tells every worker in turn; no
// worker stops.
#include <sys/eventfd.h>

#include <bit>

#include "session/impl.h"

namespace loom::session {
namespace {

constexpr uint32_t kMaxBacklog = 4096;  // as net.core.somaxconn
constexpr uint32_t kMaxFifo = 1u << 30;

void answer(App& app, uint32_t app_worker, const svm::BoundEvent& event, SessionWorker& sw) {
  AppWorker* a = app.live[app_worker].load(std::memory_order_acquire);
  if (a) push_event(sw, *a, svm::ToApp::kBound, event);
}

// Events go out on worker 0, whose port keeps the overflow.
void reply(Impl& layer, App& app, uint32_t app_worker, const svm::BoundEvent& event) {
  layer.engine.run_on_worker(0, [&](Worker& w) {
    SessionWorker& sw = of(w);
    answer(app, app_worker, event, sw);
    flush(sw);
  });
}

uint32_t take_index(Impl& layer) {
  if (!layer.free_listeners.empty()) {
    const uint32_t i = layer.free_listeners.back();
    layer.free_listeners.pop_back();
    return i;
  }
  return layer.n_listeners < Impl::kMaxListeners ? layer.n_listeners++ : kNoIndex;
}

// Makes the listener known to the transport on every worker. On failure those that know it forget
// it.
Status listen_on_workers(Impl& layer, Listener& l) {
  const TransportOps& ops = *layer.transports.get(l.transport);
  Status status = Status::kOk;
  for (uint32_t i = 0; i < layer.engine.n_workers() && status == Status::kOk; ++i)
    layer.engine.run_on_worker(
        i, [&](Worker& w) { status = ops.listen(w, l.index, l.endpoints, l.options, &l.conn[i]); });
  return status;
}

void unlisten_on_workers(Impl& layer, Listener& l) {
  const TransportOps& ops = *layer.transports.get(l.transport);
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    layer.engine.run_on_worker(i, [&](Worker& w) {
      SessionWorker& sw = of(w);
      if (l.conn[i] != kNoConn && ops.unlisten) ops.unlisten(w, std::exchange(l.conn[i], kNoConn));
      // Connections that nobody took are reset, as the kernel does.
      for (SessionId id = l.app->sessions[i].first; id != kNoSession;) {
        Session& s = sw.pool.at(id);
        id = s.app_next;
        if (s.state == State::kAccepted && s.listener == l.index && !l.is_taken(s.accept_pos))
          app_close(sw, s, true);
      }
    });
}

}  // namespace

void listen(Impl& layer, App& app, uint32_t app_worker, const svm::ListenEvent& e) {
  svm::BoundEvent event{};
  event.context = e.context;
  const auto fail = [&](Status s) {
    event.status = static_cast<int32_t>(s);
    reply(layer, app, app_worker, event);
  };
  if (layer.stopped || app.detached) return;
  const TransportId transport = layer.transports.find_proto(e.proto);
  const TransportOps* ops = layer.transports.get(transport);
  if (!ops || !ops->listen) return fail(Status::kUnsupported);
  if (e.local.is_ip4 > 1) return fail(Status::kInvalid);

  auto l = std::make_unique<Listener>();
  l->app = &app;
  l->transport = transport;
  l->endpoints = endpoints_of(e.local, e.local);
  l->endpoints.remote =
      l->endpoints.local.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  l->endpoints.remote_port = 0;
  l->options = options_view(e.options, l->congestion);
  l->dual_stack = !l->endpoints.local.is_ip4 && l->endpoints.local.is_zero() && !l->options.v6only;
  l->rx_size = e.rx_fifo_size ? std::clamp(e.rx_fifo_size, 4096u, kMaxFifo) : app.rx_fifo_size;
  l->tx_size = e.tx_fifo_size ? std::clamp(e.tx_fifo_size, 4096u, kMaxFifo) : app.tx_fifo_size;
  l->backlog = std::clamp(e.backlog, 1u, kMaxBacklog);
  l->options.backlog = l->backlog;
  l->conn.fill(kNoConn);

  const uint32_t capacity = std::bit_ceil(l->backlog);
  const auto object = app.arena.alloc_object(svm::listener_bytes(capacity));
  if (!object.ptr) return fail(Status::kNoMemory);
  l->index = take_index(layer);
  if (l->index == kNoIndex) {
    app.arena.free_object(object.ref);
    return fail(Status::kNoMemory);
  }
  l->generation = ++layer.listener_generation & 0xffffff;
  l->shared = reinterpret_cast<svm::ListenerShared*>(object.ptr);
  l->shared_ref = object.ref;
  std::construct_at(&l->accepts, *l->shared, capacity, l->handle());
  l->shared->holders.store(1ull << app_worker, std::memory_order_release);

  const auto undo = [&](Status s) {
    layer.free_listeners.push_back(l->index);
    app.arena.free_object(object.ref);
    fail(s);
  };
  const Status taken =
      layer.flows->add_listener(l->endpoints, ops->ip_protocol, l->dual_stack, l->index);
  if (taken != Status::kOk) return undo(taken);
  Listener* const raw = l.get();
  layer.listeners[raw->index].store(l.release(), std::memory_order_release);
  if (const Status s = listen_on_workers(layer, *raw); s != Status::kOk) {
    event.context = e.context;
    fail(s);
    unlisten(layer, *raw);
    return;
  }
  event.handle = raw->handle();
  event.listener = raw->shared_ref;
  event.local = endpoint_of(raw->endpoints.local, raw->endpoints.local_port);
  reply(layer, app, app_worker, event);
}

void unlisten(Impl& layer, Listener& l) {
  const TransportOps& ops = *layer.transports.get(l.transport);
  layer.flows->del_listener(l.endpoints, ops.ip_protocol, l.dual_stack);
  unlisten_on_workers(layer, l);
  layer.listeners[l.index].store(nullptr, std::memory_order_release);
  // Workers have all run a closure since: none of them is still looking at it.
  l.app->arena.free_object(l.shared_ref);
  layer.free_listeners.push_back(l.index);
  delete &l;
}

}  // namespace loom::session
