// Cut-through sessions on their worker: found, opened, closed. The memory behind them is made in
// cut_through_memory.cc.
#include "session/cut_through.h"

#include <hostloom/net.h>

#include <algorithm>
#include <cerrno>

#include "net/net_ops.h"
#include "session/session_events.h"

namespace loom::session {
namespace {

// A connect that finds the backlog full is tried again this often, as a SYN would be sent again,
// for as long as TCP would.
constexpr TimeNs kBacklogRetry = 5 * kMillisecond;
constexpr TimeNs kConnectTimeout = 127 * kSecond;
constexpr std::size_t kMaxBacklogged = 4096;  // that wait so, of all applications
constexpr std::ptrdiff_t kMaxBackloggedOfOne = 256;

CutThroughLink& link_of(SessionWorker& sw, ConnId conn) noexcept {
  return *sw.cut_throughs[conn / 2];
}
uint32_t end_of(ConnId conn) noexcept { return conn & 1; }

uint32_t bytes_in(SessionWorker& sw, const Session& s, bool written) noexcept {
  const CutThroughLink& l = link_of(sw, s.cut_conn);
  const uint32_t end = end_of(s.cut_conn);
  const uint32_t at = written ? end : 1 - end;
  const svm::FifoShared& f = l.shared->fifos[at];
  const uint32_t n = f.producer.tail.load(std::memory_order_acquire) -
                     f.consumer.head.load(std::memory_order_relaxed);
  return std::min(n, l.sizes[at]);
}

// --- Opening

// A place at a bell of the pair: which bell, and its bit there. False: no memory.
bool take_bell(SessionWorker& sw, CutThroughPair& pair, uint32_t& at, uint32_t& bit) noexcept {
  for (uint32_t i = 0; i < pair.bells.size(); ++i) {
    auto& used = pair.bells[i].used;
    if (used.all()) continue;
    bit = 0;
    while (used[bit]) ++bit;
    used[bit] = true;
    at = i;
    return true;
  }
  const auto object = pair.arena.alloc_object(sizeof(svm::BellShared));
  if (!object.ptr) {
    ++sw.counters[kNoSegmentMemory];
    return false;
  }
  CutThroughPair::Bell bell;
  bell.shared = reinterpret_cast<svm::BellShared*>(object.ptr);
  bell.ref = object.ref;
  bell.used[0] = true;
  pair.bells.push_back(bell);
  at = static_cast<uint32_t>(pair.bells.size() - 1);
  bit = 0;
  return true;
}

// Takes the link's place in memory, or leaves nothing behind.
Status build_link(SessionWorker& sw, CutThroughPair& pair, uint32_t index, const Endpoints& wanted,
                  uint8_t protocol) noexcept {
  CutThroughLink& l = *sw.cut_throughs[index];
  if (!take_memory(sw, pair, l)) return Status::kNoMemory;
  l.endpoints = wanted;
  if (l.endpoints.local.is_zero()) l.endpoints.local = l.endpoints.remote;  // as Linux chooses
  // The addresses are taken as those of a connection are, but lead no packet anywhere: one that
  // claims them comes from outside.
  FlowTables& flows = *sw.layer->flows;
  const auto worker = static_cast<uint8_t>(sw.worker->index);
  Status status =
      flows.open(l.endpoints, protocol, worker, kNoConn, sw.port_counter, sw.worker->now);
  if (status == Status::kOk)
    status = flows.add(l.endpoints, protocol, FlowKind::kListener, worker, kNoIndex);
  if (status != Status::kOk) {
    if (status != Status::kInUse)
      flows.del(l.endpoints, protocol, sw.worker->now);  // open() may have succeeded
    give_memory(l);
    return status;
  }
  l.protocol = protocol;
  return Status::kOk;
}

void drop_link(SessionWorker& sw, uint32_t index) noexcept {
  CutThroughLink& l = *sw.cut_throughs[index];
  give_memory(l);
  sw.layer->flows->del(l.endpoints, l.protocol, sw.worker->now);
  l = {};
  sw.free_cut_throughs.push_back(index);
  drain_progress(sw);
}

Session* add_end(SessionWorker& sw, uint32_t index, uint32_t end, App& app, TransportId transport,
                 uint32_t rx_size, uint32_t tx_size) noexcept {
  const auto object = app.arena.alloc_object(sizeof(svm::SessionLine));
  if (!object.ptr) {
    ++sw.counters[kNoSegmentMemory];
    ask_growth(sw, app);
    return nullptr;
  }
  Session* s = new_session(sw, app, transport);
  if (!s) {
    app.arena.free_object(object.ref);
    return nullptr;
  }
  CutThroughLink& l = *sw.cut_throughs[index];
  s->conn = s->cut_conn = index * 2 + end;
  s->rx.size = rx_size;
  s->tx.size = tx_size;
  s->shared_ref = object.ref;
  s->shared = reinterpret_cast<svm::SessionLine*>(object.ptr);
  l.sizes[end] = tx_size;
  set_owner(sw, *s, ~0u);
  svm::SessionLine& line = *s->shared;
  line.handle = handle_of(sw, *s);
  line.worker.store(sw.worker->index, std::memory_order_relaxed);
  line.rx_size = rx_size;
  line.tx_size = tx_size;
  line.block = l.ref;
  line.bell = l.pair->bells[l.bell].ref;
  line.bell_bit = l.bit;
  l.sessions[end] = s->id;
  l.open[end] = true;
  s->flags |= kTransportUp;
  return s;
}

Status open_link(SessionWorker& sw, AppWorker& a, const ConnectArgs& args, Listener& listener,
                 CutThroughPair& pair) noexcept {
  const uint8_t protocol = sw.layer->transports.get(args.transport)->ip_protocol;
  const uint32_t index = take_place(sw.cut_throughs, sw.free_cut_throughs);
  if (const Status status = build_link(sw, pair, index, args.endpoints, protocol);
      status != Status::kOk) {
    sw.free_cut_throughs.push_back(index);
    return status;
  }
  CutThroughLink& l = *sw.cut_throughs[index];
  // An application that connects to itself has both ends.
  l.caller = pair.apps[0] == a.app ? 0 : 1;
  const uint32_t callee = 1 - l.caller;
  // What one may send is what the other agreed to hold.
  const uint32_t caller_rx = fifo_size(args.rx_fifo_size, a.app->rx_fifo_size);
  Session* to =
      add_end(sw, index, callee, *listener.app, args.transport, listener.rx_size, caller_rx);
  Session* from =
      to ? add_end(sw, index, l.caller, *a.app, args.transport, caller_rx, listener.rx_size)
         : nullptr;
  if (!from) {
    if (to)
      free_session(sw, *to);  // the link goes with it
    else
      drop_link(sw, index);
    return Status::kNoMemory;
  }
  from->state = State::kOpen;
  from->context = args.context;
  from->creator = args.creator;
  note_session(sw, EventKind::kSessionOpen, *from);
  to->state = State::kAccepted;
  note_session(sw, EventKind::kSessionAccept, *to);
  to->listener = listener.index;
  to->creator = 0xff;
  Endpoints seen_by_callee = l.endpoints;
  std::swap(seen_by_callee.local, seen_by_callee.remote);
  std::swap(seen_by_callee.local_port, seen_by_callee.remote_port);
  const Endpoints seen_by_caller = l.endpoints;
  if (const Status status =
          to->app->owner->accepted(sw, listener, *to, seen_by_callee, args.options.interface);
      status != Status::kOk) {
    free_session(sw, *to);
    free_session(sw, *from);
    return status;
  }
  note_session(sw, EventKind::kSessionConnected, *from);
  from->app->owner->connected(sw, *from, Status::kOk, seen_by_caller);
  return Status::kOk;
}

// `waited` with a deadline.
Waited until_deadline(const SessionWorker& sw, Waited waited) noexcept {
  if (waited.deadline == 0) waited.deadline = sw.worker->now + kConnectTimeout;
  return waited;
}

Status wait_for_backlog(SessionWorker& sw, AppWorker& a, const svm::ConnectEvent& e,
                        const Waited& waited) {
  if (!waited.in_backlog) {
    ++sw.counters[kAcceptOverflow];
    const auto mine = std::ranges::count(sw.backlogged, a.app, &Backlogged::app);
    // As many as one has, there is room for of others (fair_share.h).
    if (static_cast<std::size_t>(mine) + sw.backlogged.size() >= kMaxBacklogged ||
        mine >= kMaxBackloggedOfOne)
      return Status::kNoMemory;
  }
  sw.backlogged.push_back({a.app, a.index, e, until_deadline(sw, waited).deadline, waited.chance});
  if (!sw.backlog_timer.is_running()) sw.worker->timer_start_in(sw.backlog_timer, kBacklogRetry);
  return Status::kOk;
}

bool can_cut_through(const TransportOps& ops) noexcept {
  // What a transport from outside the tree does to the bytes on their way, nobody here knows.
  return ops.tx_kind == TxKind::kPeek && ops.listen && ops.ip_protocol != 0 &&
         ops.proto < kFirstPrivateProto;
}

// --- What the session layer calls as it calls a transport

// The end has gone, how it may be. Its session is the caller's to free.
void leave(SessionWorker& sw, ConnId conn, bool reset) noexcept {
  CutThroughLink& l = link_of(sw, conn);
  const uint32_t end = end_of(conn), other = 1 - end;
  l.open[end] = false;
  if (l.sessions[other] == kNoSession || !l.open[other]) return;
  const SessionId peer = l.sessions[other];
  if (reset) {
    sw.worker->sessions->reset(*sw.worker, peer, ResetReason::kPeerReset);
    return;
  }
  Session& s = sw.pool.at(peer);
  set_peer_end(sw, s, svm::kPeerClosed);
}

void close(Worker& w, ConnId conn, bool unread) noexcept {
  SessionWorker& sw = of(w);
  const SessionId id = link_of(sw, conn).sessions[end_of(conn)];
  leave(sw, conn, unread);
  w.sessions->closed(w, id);
}

void abort(Worker& w, ConnId conn) noexcept { leave(of(w), conn, true); }

void info(Worker& w, ConnId conn, ConnectionInfo& out) noexcept {
  constexpr uint8_t kEstablished = 1, kCloseWait = 8;  // Linux's numbers
  SessionWorker& sw = of(w);
  const CutThroughLink& l = link_of(sw, conn);
  const uint32_t end = end_of(conn);
  out.endpoints = l.endpoints;
  if (end != l.caller) {
    std::swap(out.endpoints.local, out.endpoints.remote);
    std::swap(out.endpoints.local_port, out.endpoints.remote_port);
  }
  out.state = l.open[1 - end] ? kEstablished : kCloseWait;
  out.snd_mss = out.rcv_mss = 65483;  // what Linux's loopback has
  out.pmtu = 65535;
  const auto cursor = [](const std::atomic<uint32_t>& c) {
    return c.load(std::memory_order_relaxed);
  };
  // Modulo 2^32: nobody counts further on the way of the data.
  out.bytes_acked = cursor(l.shared->fifos[end].consumer.head);
  out.bytes_received = cursor(l.shared->fifos[1 - end].producer.tail);
}

}  // namespace

const TransportOps kCutThroughOps{
    .name = "cut-through",
    .tx_kind = TxKind::kInternal,
    .close = close,
    .abort = abort,
    .info = info,
};

CutThroughPair* pair_of(SessionWorker& sw, App& a, App& b) noexcept {
  const auto found = sw.pairs.find(CutThroughKey(a, b));
  return found == sw.pairs.end() ? nullptr : found->second;
}

bool take_memory(SessionWorker& sw, CutThroughPair& pair, LinkMemory& m) noexcept {
  const auto object = pair.arena.alloc_object(sizeof(svm::CutThroughShared));
  if (!object.ptr) {
    ++sw.counters[kNoSegmentMemory];
    return false;
  }
  if (!take_bell(sw, pair, m.bell, m.bit)) {
    pair.arena.free_object(object.ref);
    return false;
  }
  m.pair = &pair;
  m.shared = reinterpret_cast<svm::CutThroughShared*>(object.ptr);
  m.ref = object.ref;
  svm::init_fifo(m.shared->fifos[0]);
  svm::init_fifo(m.shared->fifos[1]);
  pair.n_links.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void give_memory(LinkMemory& m) noexcept {
  CutThroughPair& pair = *m.pair;
  for (uint32_t end = 0; end < 2; ++end) {
    svm::AppFifoProducer fifo(m.shared->fifos[end], pair.app_arena, m.sizes[end]);
    fifo.release();
  }
  pair.bells[m.bell].used[m.bit] = false;
  pair.arena.free_object(m.ref);
  m = {};
  pair.n_links.fetch_sub(1, std::memory_order_acq_rel);  // the last: it may go now
}

bool takes_cut_through(SessionWorker& sw, const Listener& l, TransportId transport) noexcept {
  const Impl& layer = *sw.layer;
  return can_cut_through(*layer.transports.get(transport)) && l.transport == transport &&
         !l.app->owner->in_this_process && l.app->scope.local &&
         l.conn[sw.worker->index] != kNoConn &&
         layer.drain_state.load(std::memory_order_relaxed) == DrainState::kOff;
}

Listener* find_cut_through(SessionWorker& sw, const App& caller, const ConnectArgs& args) noexcept {
  const Impl& layer = *sw.layer;
  if (!caller.scope.local) return nullptr;
  const TransportOps* ops = layer.transports.get(args.transport);
  if (!can_cut_through(*ops)) return nullptr;
  const Endpoints& e = args.endpoints;
  if (!sw.worker->net || !sw.worker->net->is_local(*sw.worker, e.remote, e.fib_index))
    return nullptr;
  Endpoints arriving;
  arriving.local = e.remote;
  arriving.local_port = e.remote_port;
  arriving.remote = e.remote.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  arriving.fib_index = local_table(caller.ns->index, e.fib_index);
  const IfIndex link = args.options.interface;
  if (link != kNoIndex && !has_address(*sw.worker, link, e.remote)) return nullptr;
  struct By {
    const Impl& layer;
    IfIndex link;
  };
  const By by{layer, link};
  const auto hears = [](const void* context, const FlowMatch& m) noexcept {
    const auto& by = *static_cast<const By*>(context);
    const Listener* l = m.kind == FlowKind::kListener ? by.layer.listener(m.conn) : nullptr;
    const IfIndex only = l ? l->options.interface : kNoIndex;
    return only == kNoIndex || by.link == kNoIndex || only == by.link;
  };
  // It has no port yet that would tell it from other flows.
  const FlowMatch match =
      layer.flows->find_listener(arriving, ops->ip_protocol, args.chance, hears, &by);
  if (match.kind != FlowKind::kListener) return nullptr;
  Listener* l = layer.listener(match.conn);
  if (!l || l->app->ns != caller.ns || !takes_cut_through(sw, *l, args.transport)) return nullptr;
  const IfIndex only = l->options.interface;
  return only == kNoIndex || only == link ? l : nullptr;
}

Status open_cut_through(SessionWorker& sw, AppWorker& a, const svm::ConnectEvent& event,
                        const ConnectArgs& args, Listener& l, const Waited& waited) noexcept {
  CutThroughPair* pair = pair_of(sw, *a.app, *l.app);
  if (!pair)
    return ask_pair(sw, a, *l.app,
                    [event, waited = until_deadline(sw, waited)](SessionWorker& at,
                                                                 AppWorker& caller, Status status) {
                      if (status == Status::kOk)
                        connect(at, caller, event, waited);
                      else
                        refuse_connect(at, caller, event.context, status);
                    });
  // An address that is bound must be ours: by a transport no answer would come back to another.
  const Endpoints& e = args.endpoints;
  if (!e.local.is_zero() && !sw.worker->net->is_local(*sw.worker, e.local, e.fib_index))
    return Status::kNotFound;
  if (l.accepts.count() < l.backlog) return open_link(sw, a, args, l, *pair);
  return wait_for_backlog(sw, a, event, waited);
}

void cut_through_tick(Worker& w, Timer& t) noexcept {
  SessionWorker& sw = of(w);
  std::vector<Backlogged> waiting;
  std::swap(waiting, sw.backlogged);
  for (const Backlogged& b : waiting) {
    AppWorker* a = b.app->live[b.app_worker].load(std::memory_order_acquire);
    if (!a) continue;
    if (w.now >= b.deadline)
      refuse_connect(sw, *a, b.event.context, Status::kTimedOut);
    else
      connect(sw, *a, b.event, {b.deadline, true, b.chance});
  }
  if (!sw.backlogged.empty() && !t.is_running()) w.timer_start_in(t, kBacklogRetry);
}

uint32_t unread_bytes(SessionWorker& sw, const Session& s) noexcept {
  return bytes_in(sw, s, false);
}
uint32_t unsent_bytes(SessionWorker& sw, const Session& s) noexcept {
  return bytes_in(sw, s, true);
}

void ring_for(SessionWorker& sw, const Session& s) noexcept {
  const CutThroughLink& l = link_of(sw, s.cut_conn);
  const uint32_t end = 1 - end_of(s.cut_conn);
  if (l.sessions[end] == kNoSession) return;
  Session& peer = sw.pool.at(l.sessions[end]);
  // Whoever has an event to read does not sleep, and looks at its bells before it does.
  const AppWorker* a = owner_of(peer);
  if (a && a->serial == l.told[end].serial && !a->events.is_read(l.told[end].position)) return;
  notify(sw, peer, kNotifyRx | kNotifyForce);
}

void note_told(SessionWorker& sw, const Session& s, const AppWorker& owner,
               uint32_t position) noexcept {
  link_of(sw, s.cut_conn).told[end_of(s.cut_conn)] = {owner.serial, position};
}

void set_owner(SessionWorker& sw, Session& s, uint32_t worker) noexcept {
  s.shared->owner.store(worker);
  if (s.is_cut_through())
    link_of(sw, s.cut_conn).shared->ends[end_of(s.cut_conn)].owner.store(worker);
  else
    set_link_owners(sw, s, worker);
}

void set_peer_end(SessionWorker& sw, Session& s, uint32_t how) noexcept {
  s.shared->peer_end.fetch_or(how, std::memory_order_release);
  notify(sw, s, kNotifyRx | kNotifyForce);
}

void release_cut_through(SessionWorker& sw, Session& s) noexcept {
  CutThroughLink& l = link_of(sw, s.cut_conn);
  const uint32_t end = end_of(s.cut_conn);
  s.app->arena.free_object(s.shared_ref);
  l.sessions[end] = kNoSession;
  if (l.sessions[1 - end] == kNoSession) drop_link(sw, s.cut_conn / 2);
}

}  // namespace loom::session
