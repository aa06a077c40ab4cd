// Listening endpoints come and go on the control thread, which tells every worker in turn; no
// worker stops.
#include <algorithm>
#include <bit>
#include <cstring>

#include "session/control.h"
#include "session/listeners.h"

namespace loom::session {
namespace {

constexpr uint32_t kMaxBacklog = 4096;  // as net.core.somaxconn
constexpr uint32_t kMaxFifo = 1u << 30;
constexpr std::size_t kMostAtOnce = 64;  // listeners that a worker forgets in one round

// Whether others may have the same place.
bool may_join(const Listener& l) noexcept {
  return l.options.reuseport || l.options.interface != kNoIndex;
}

// Events go out on worker 0, whose port keeps the overflow.
void reply(Impl& layer, App& app, uint32_t app_worker, const svm::BoundEvent& event) {
  layer.engine.run_on_worker(0, [&](Worker& w) {
    SessionWorker& sw = of(w);
    AppWorker* a = app.live[app_worker].load(std::memory_order_acquire);
    if (a) push_event(sw, *a, svm::ToApp::kBound, event);
    flush(sw);
  });
}

// kNoIndex: there is none, or what is left is for other applications.
uint32_t take_index(Impl& layer, Taken& share) {
  if (!share.take(1)) return kNoIndex;
  if (!layer.free_listeners.empty()) {
    const uint32_t i = layer.free_listeners.back();
    layer.free_listeners.pop_back();
    return i;
  }
  if (layer.n_listeners < Impl::kMaxListeners) return layer.n_listeners++;
  share.give_back(1);
  return kNoIndex;
}

void release_index(Impl& layer, const Listener& l) {
  l.face().listeners.give_back(1);
  layer.free_listeners.push_back(l.index);
}

// Those of l.places.
void give_up_places(Impl& layer, const Listener& l, std::span<const Place> places) {
  for (const Place& p : places) give_up_place(layer, l, p);
}

// All places on one port, or none.
Status claim(Impl& layer, Listener& l, uint16_t port, bool alone) {
  for (std::size_t i = 0; i < l.places.size(); ++i) {
    Place& p = l.places[i];
    p.at.local_port = port;
    const Status s = take_place(layer, l, p, alone);
    if (s == Status::kOk) continue;
    give_up_places(layer, l, std::span(l.places).first(i));
    return s;
  }
  return Status::kOk;
}

// On a port that all of them have free when it asks for none.
Status claim_any(Impl& layer, Listener& l) {
  if (l.endpoints.local_port != 0) return claim(layer, l, l.endpoints.local_port, false);
  Status s = Status::kInUse;
  const bool is_chosen = layer.choose_port([&](uint16_t port) {
    s = claim(layer, l, port, true);
    if (s == Status::kOk) l.endpoints.local_port = port;
    return s != Status::kInUse;
  });
  return is_chosen ? s : Status::kInUse;
}

// Takes the listener's places; on failure it has none.
Status take_places(Impl& layer, Listener& l) {
  l.places = places_of(layer, l.face(), l.endpoints, l.dual_stack, l.fibs);
  // One that is bound to an interface may wait for its first address, but not for one it names.
  if (l.places.empty() && !l.endpoints.local.is_zero()) return Status::kNotFound;
  const Status s = claim_any(layer, l);
  if (s != Status::kOk) l.places.clear();
  return s;
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

// The transport keeps what the settings say as long as there is the listener.
Status open_internal(Impl& layer, Listener& l) {
  if (l.options.settings != 0) {
    const uint64_t charge = layer.settings.charge_for_listener(*l.app, l.options.settings);
    if (!l.app->memory.take(charge, MemoryUse::kSettings)) return Status::kNoMemory;
    l.settings_charge = charge;
  }
  return layer.transports.get(l.transport)->open_listener(l.index, l.options, &l.internal);
}

// All of one application.
void unlisten_on_workers(Impl& layer, const App& app, std::span<Listener* const> going) {
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    for (std::size_t at = 0; at < going.size(); at += kMostAtOnce)
      layer.engine.run_on_worker(i, [&](Worker& w) {
        SessionWorker& sw = of(w);
        for (Listener* l : going.subspan(at, std::min(kMostAtOnce, going.size() - at))) {
          const TransportOps& ops = *layer.transports.get(l->transport);
          if (l->conn[i] != kNoConn && ops.unlisten)
            ops.unlisten(w, std::exchange(l->conn[i], kNoConn));
          std::erase(sw.accepting, l->index);
        }
      });
  // Connections that nobody took are reset, as the kernel does. Those that go on forget the
  // listener: its index will be another's.
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    for_each_session_of(layer, i, app, [&](SessionWorker& sw, Session& s) {
      Listener* const l = layer.listener(s.listener);
      if (!l || !l->is_going) return;
      const bool is_waiting = s.state == State::kAccepted || s.state == State::kDetached;
      if (is_waiting && !l->accepts.is_taken(s.accept_pos))
        app_close(sw, s, true);
      else
        s.listener = kNoIndex;
    });
}

// As it listens: reuseaddr is no agreement any more, but for what is bound alone.
LocalEnd end_of(const Impl& layer, const Listener& l, const Place& p) {
  return {.place = p,
          .protocol = layer.transports.get(l.transport)->ip_protocol,
          .share = share_of(l.face(), l.options),
          .listens = true,
          .bound = l.bound,
          .listener = l.index};
}

}  // namespace

PortShare share_of(const App& app, const SocketOptionsView& options) {
  return {.reuseport = options.reuseport,
          .reuseaddr = options.reuseaddr,
          .uid = app.uid,
          .ns = app.ns.get(),
          .interface = options.interface};
}

bool takes_both(const ListenArgs& args) {
  return !args.local.local.is_ip4 && args.local.local.is_zero() && !args.options.v6only;
}

// One that shares its port has flows by their hash, as many as each of the others. One of an
// interface has those that come by it.
Status take_place(Impl& layer, const Listener& l, Place& p, bool alone) {
  const LocalEnd end = end_of(layer, l, p);
  if (!layer.local_ends.is_free(end, alone)) return Status::kInUse;
  PortShare share = end.share;
  share.reuseaddr = false;
  const Status s = may_join(l)
                       ? layer.flows->add_shared_listener(p.at, end.protocol, p.dual_stack, l.index,
                                                          share, alone)
                       : layer.flows->add_listener(p.at, end.protocol, p.dual_stack, l.index);
  if (s == Status::kOk) layer.local_ends.add(end);
  return s;
}

void give_up_place(Impl& layer, const Listener& l, const Place& p) {
  const LocalEnd end = end_of(layer, l, p);
  layer.local_ends.remove(end);
  if (may_join(l))
    layer.flows->del_shared_listener(p.at, end.protocol, p.dual_stack, l.index);
  else
    layer.flows->del_listener(p.at, end.protocol, p.dual_stack);
}

Result<Listener*> open_listener(Impl& layer, App& app, const ListenArgs& args) {
  const TransportOps* ops = layer.transports.get(args.transport);
  const bool is_internal = ops && ops->tx_kind == TxKind::kInternal;
  if (!ops || !(is_internal ? !!ops->open_listener : !!ops->listen))
    return error(Status::kUnsupported, "this transport cannot listen");
  const auto fail = [&](Status s) {
    return error(s, "listening on " + args.local.local.str() + " port " +
                        std::to_string(args.local.local_port) + ": " + status_name(s));
  };
  auto l = std::make_unique<Listener>();
  l->app = &app;
  l->app_context = args.app_context;
  l->for_app = args.for_app;
  l->transport = args.transport;
  l->endpoints = args.local;
  l->fibs = args.fibs;
  l->endpoints.fib_index = l->fibs.of(l->endpoints.local.is_ip4);
  l->endpoints.remote =
      l->endpoints.local.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  l->endpoints.remote_port = 0;
  l->options = args.options;
  std::strncpy(l->congestion, args.options.congestion, sizeof l->congestion - 1);
  l->options.congestion = l->congestion;
  l->dual_stack = takes_both(args);
  l->bound = args.bound;
  const auto size = [](uint32_t asked, uint32_t otherwise) {
    return asked ? std::clamp(asked, 4096u, kMaxFifo) : otherwise;
  };
  l->rx_size = size(args.rx_fifo_size, app.rx_fifo_size);
  l->tx_size = size(args.tx_fifo_size, app.tx_fifo_size);
  l->backlog = std::clamp(args.backlog, 1u, kMaxBacklog);
  l->options.backlog = l->backlog;
  l->conn.fill(kNoConn);

  // In-process applications never have anything in their queue.
  const uint32_t capacity = app.owner->in_this_process ? 1 : std::bit_ceil(l->backlog);
  const auto object = app.arena.alloc_object(svm::listener_bytes(capacity));
  if (!object.ptr) return fail(Status::kNoMemory);
  l->index = take_index(layer, l->face().listeners);
  if (l->index == kNoIndex) {
    app.arena.free_object(object.ref);
    return fail(Status::kNoMemory);
  }
  l->generation = ++layer.listener_generation & 0xffffff;
  l->shared = reinterpret_cast<svm::ListenerShared*>(object.ptr);
  l->shared_ref = object.ref;
  std::construct_at(&l->accepts, *l->shared, capacity, l->handle());
  l->shared->holders.store(args.holders, std::memory_order_release);

  // Who joins others has flows of theirs at once, so every worker has to know it before. Nobody has
  // a port that is chosen.
  const bool joins = !is_internal && may_join(*l) && l->endpoints.local_port != 0;
  if (const Status taken = is_internal || joins ? Status::kOk : take_places(layer, *l);
      taken != Status::kOk) {
    release_index(layer, *l);
    app.arena.free_object(object.ref);
    return fail(taken);
  }
  Listener* const raw = l.get();
  layer.listeners[raw->index].store(l.release(), std::memory_order_release);
  Status s = is_internal ? open_internal(layer, *raw) : listen_on_workers(layer, *raw);
  if (s == Status::kOk && joins) s = take_places(layer, *raw);
  if (s != Status::kOk) {
    unlisten(layer, app, {&raw, 1});
    return fail(s);
  }
  layer.filters->listeners_changed(app);
  return raw;
}

Result<void> change_settings(Impl& layer, Listener& l, uint32_t settings) {
  const TransportOps& ops = *layer.transports.get(l.transport);
  if (l.internal == kNoConn || !ops.use_settings)
    return error(Status::kUnsupported, std::string(ops.name) + " has no use for others");
  uint64_t charge = layer.settings.charge_for_listener(*l.app, settings);
  if (auto taken = l.app->memory.take(charge, MemoryUse::kSettings); !taken) return taken;
  const Status status = ops.use_settings(l.internal, settings);
  if (status == Status::kOk) std::swap(charge, l.settings_charge);
  l.app->memory.give_back(charge);
  return status == Status::kOk ? Result<void>() : error(status, status_name(status));
}

void unlisten(Impl& layer, App& app, std::span<Listener* const> going) {
  if (going.empty()) return;
  for (Listener* l : going) {
    const TransportOps& ops = *layer.transports.get(l->transport);
    l->is_going = true;
    if (l->internal != kNoConn) ops.close_listener(std::exchange(l->internal, kNoConn));
    give_up_places(layer, *l, l->places);
  }
  layer.filters->listeners_changed(app);
  unlisten_on_workers(layer, app, going);
  for (Listener* l : going) layer.listeners[l->index].store(nullptr, std::memory_order_release);
  // Who has found one before is done with it when all workers have run a closure since.
  pass_over_workers(layer);
  for (Listener* l : going) {
    app.arena.free_object(l->shared_ref);
    app.memory.give_back(l->settings_charge);
    release_index(layer, *l);
    delete l;
  }
}

namespace {

// Listens, or binds alone. False, and the application is told nothing: somebody has the port, and
// it is not to be told so yet.
bool listen(Impl& layer, App& app, uint32_t app_worker, const svm::ListenEvent& e,
            bool may_refuse) {
  if (layer.stopped || app.detached || !app.workers[app_worker]) return true;
  svm::BoundEvent event{};
  event.context = e.context;
  const uint32_t settings = e.options.settings;
  const auto answer = [&](Status s) {
    if (s == Status::kInUse && !may_refuse) return false;
    if (settings != 0 && layer.settings.used(app, settings)) layer.settings.take_away_used();
    event.status = static_cast<int32_t>(s);
    reply(layer, app, app_worker, event);
    return true;
  };
  char congestion[16];
  ListenArgs args{.transport = layer.transports.find_proto(e.proto),
                  .local = endpoints_of(e.local, e.local),
                  .fibs = app.ns->fibs(),
                  .options = options_view(e.options, congestion),
                  .backlog = e.backlog,
                  .rx_fifo_size = e.rx_fifo_size,
                  .tx_fifo_size = e.tx_fifo_size,
                  .holders = 1ull << app_worker};
  keep_in_place(app, args.options);
  if (const auto b = app.bound_ends.find(e.bound); b != app.bound_ends.end())
    args.bound = b->second.id;
  if (e.local.is_ip4 > 1 || (settings != 0 && !layer.settings.has(app, settings)))
    return answer(Status::kInvalid);
  if (e.options.interface != 0)
    if (const Status s =
            may_listen_on(layer, *app.ns, args.local.local, IfIndex{e.options.interface} - 1);
        s != Status::kOk)
      return answer(s);
  if (e.only_binds != 0) {
    uint32_t number;
    const Status s = bind_end(layer, app, app_worker, args, &number);
    event.handle = number;
    event.local = endpoint_of(args.local.local, args.local.local_port);
    return answer(s);
  }
  const auto l = open_listener(layer, app, args);
  if (!l) return answer(l.error().code);
  event.handle = (*l)->handle();
  event.listener = (*l)->shared_ref;
  event.local = endpoint_of((*l)->endpoints.local, (*l)->endpoints.local_port);
  return answer(Status::kOk);
}

// The application may have gone, and its namespace with it, before control comes to a task.
struct ListenTask {
  Impl* layer;
  App* app;
  uint64_t app_serial;
  uint32_t app_worker;
  svm::ListenEvent event;
  bool is_again = false;
};

struct UnlistenTask {
  Impl* layer;
  App* app;
  uint64_t app_serial;
  SessionHandle handle;
};

void listen_now(void* arg) noexcept;

// What others have asked for before is read first: one of them may have closed what is in the way,
// and a program relies on that when it has waited for the other.
void listen_after_others(std::unique_ptr<ListenTask> t) noexcept {
  Impl& layer = *t->layer;
  t->is_again = true;
  note_posted(*t->app);
  for (uint32_t i = layer.engine.n_workers(); i-- > 0;)
    layer.engine.run_on_worker(i, [&](Worker& w) {
      (void)poll_requests(of(w));
      if (i == 0) w.post_to_control(listen_now, t.release());  // behind theirs
    });
}

void listen_now(void* arg) noexcept {
  std::unique_ptr<ListenTask> t(static_cast<ListenTask*>(arg));
  if (!note_come(*t->layer, t->app, t->app_serial)) return;
  if (!listen(*t->layer, *t->app, t->app_worker, t->event, t->is_again))
    listen_after_others(std::move(t));
}

}  // namespace

// Listening touches every worker and allocates: the control thread does it.
void listen_on_control(SessionWorker& sw, AppWorker& a, const svm::ListenEvent& e) {
  note_posted(*a.app);
  sw.worker->post_to_control(listen_now,
                             new ListenTask{sw.layer, a.app, a.app->serial, a.index, e});
}

void unlisten_on_control(SessionWorker& sw, App& app, SessionHandle handle) {
  note_posted(app);
  sw.worker->post_to_control(
      [](void* arg) {
        std::unique_ptr<UnlistenTask> t(static_cast<UnlistenTask*>(arg));
        const bool has_come = note_come(*t->layer, t->app, t->app_serial);
        if (has_come && t->handle >> 32 == 0)
          return unbind_end(*t->layer, *t->app, static_cast<uint32_t>(t->handle));
        Listener* l = t->layer->listener(handle_index(t->handle));
        if (has_come && l && l->app == t->app && l->handle() == t->handle &&
            (l->shared->holders.load(std::memory_order_acquire) & t->app->live_mask()) == 0)
          unlisten(*t->layer, *t->app, {&l, 1});
      },
      new UnlistenTask{sw.layer, &app, app.serial, handle});
}

}  // namespace loom::session
