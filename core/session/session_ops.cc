// SessionOps: what transports call. Worker; `id` is one that the transport was given and has not
// ended.
#include <hostloom/net.h>

#include "session/in_process_datagrams.h"
#include "session/session_events.h"

namespace loom::session {

void session_reset(Worker&, SessionId, ResetReason) noexcept;  // lifecycle.cc

namespace {

Session& at(SessionWorker& sw, SessionId id) noexcept {
  Session& s = sw.pool.at(id);
  LOOM_DCHECK(s.state != State::kFree);
  return s;
}

// --- Flows
// -----------------------------------------------------------------------------------------------------------

// The tables have grown, perhaps: what they will need next is fetched by the control thread.
void fetch_ahead(SessionWorker& sw) noexcept {
  Impl& l = *sw.layer;
  if (!l.flows->wants_fetch() || l.fetches.exchange(true, std::memory_order_relaxed)) [[likely]]
    return;
  sw.worker->post_to_control(
      [](void* layer) {
        auto& l = *static_cast<Impl*>(layer);
        l.flows->fetch_ahead();
        l.fetches.store(false, std::memory_order_relaxed);
      },
      &l);
}

Status flow_add(Worker& w, const Endpoints& e, uint8_t protocol, FlowKind kind,
                ConnId conn) noexcept {
  SessionWorker& sw = of(w);
  fetch_ahead(sw);
  return sw.layer->flows->add(e, protocol, kind, static_cast<uint8_t>(w.index), conn);
}

void flow_del(Worker& w, const Endpoints& e, uint8_t protocol) noexcept {
  SessionWorker& sw = of(w);
  sw.layer->flows->del(e, protocol, w.now);
  drain_progress(sw);
}

Status flow_open(Worker& w, Endpoints& e, uint8_t protocol, ConnId conn) noexcept {
  SessionWorker& sw = of(w);
  if (e.local.is_zero()) {
    RouteInfo route;
    if (!w.net || w.net->route(w, e.remote, e.fib_index, &route) != Status::kOk)
      return Status::kUnreachable;
    e.local = route.source;
  }
  fetch_ahead(sw);
  return sw.layer->flows->open(e, protocol, static_cast<uint8_t>(w.index), conn, sw.port_counter,
                               w.now);
}

// Of a connection of link-local addresses, the link (RFC 4007).
IfIndex link_of(SessionWorker& sw, const Session& s, const Endpoints& e) noexcept {
  if (!is_link_local(e.local) && !is_link_local(e.remote)) [[likely]]
    return kNoIndex;
  ConnectionInfo info;
  const TransportOps* ops = ops_of(sw, s);
  if (ops->info) ops->info(*sw.worker, s.conn, info);
  return info.interface;
}

// --- Life
// --------------------------------------------------------------------------------------------------------------

// Whether its namespace may have another session. If not, the peer tries again, as with a full
// backlog.
bool may_accept(SessionWorker& sw, const Listener& l) noexcept {
  // One of a transport that is an application is to become one of whom it listens for.
  const App& full = has_room(*l.app) ? l.face() : *l.app;
  if (has_room(full)) [[likely]]
    return true;
  ++sw.counters[kNamespaceFull];
  full.ns->refused_sessions.fetch_add(1, std::memory_order_relaxed);
  return false;
}

bool accept_allowed(Worker& w, SessionId listener, uint32_t half_open) noexcept {
  SessionWorker& sw = of(w);
  const Listener* l = sw.layer->listener(listener);
  return l && l->accepts.count() + half_open < l->backlog && may_accept(sw, *l);
}

Status accepted(Worker& w, SessionId listener, TransportId transport, ConnId conn,
                const Endpoints& e, SessionId* out) noexcept {
  SessionWorker& sw = of(w);
  Listener* l = sw.layer->listener(listener);
  if (!l) return Status::kClosed;
  const DrainState drain = sw.layer->drain_state.load(std::memory_order_relaxed);
  if (drain == DrainState::kDrained ||
      (drain == DrainState::kDraining &&
       sw.layer->transports.get(transport)->tx_kind == TxKind::kDatagram)) [[unlikely]] {
    ++sw.drain_refused;
    return Status::kRefused;
  }
  if (l->accepts.count() >= l->backlog) {
    ++sw.counters[kAcceptOverflow];
    return Status::kAgain;
  }
  if (!may_accept(sw, *l)) return Status::kAgain;
  Session* s = new_session(sw, *l->app, transport);
  if (!s)  // another worker may have taken the last one that the namespace may have
    return has_room(*l->app) ? Status::kNoMemory : Status::kAgain;
  s->conn = conn;
  s->listener = listener;
  s->creator = 0xff;
  s->rx.size = l->rx_size;
  s->tx.size = l->tx_size;
  s->state = State::kAccepted;
  note_session(sw, EventKind::kSessionAccept, *s);
  if (!open_fifos(sw, *s)) {
    free_session(sw, *s);
    return Status::kNoMemory;
  }
  if (const Status status = s->app->owner->accepted(sw, *l, *s, e, link_of(sw, *s, e));
      status != Status::kOk) {
    free_session(sw, *s);
    return status;
  }
  s->flags |= kTransportUp;
  *out = s->id;
  return Status::kOk;
}

void connected(Worker& w, SessionId id, Status status, const Endpoints& e) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (status == Status::kOk && !open_fifos(sw, s)) {
    status = Status::kNoMemory;
    ops_of(sw, s)->abort(w, s.conn);
  }
  if (status == Status::kOk) {
    s.state = State::kOpen;
    s.flags |= kTransportUp;
    if (e.remote_port != 0 && ops_of(sw, s)->tx_kind == TxKind::kDatagram)
      link_datagrams(sw, s, e);  // before the answer: its first datagram goes by it
  } else {
    s.flags &= static_cast<uint8_t>(~kTransportUp);
    s.conn = kNoConn;
  }
  note_session(sw, EventKind::kSessionConnected, s, static_cast<uint32_t>(status));
  s.app->owner->connected(sw, s, status, e);
}

void peer_closed(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  s.flags |= kEof;
  if (!s.shared || s.state == State::kClosing) return;
  rx_of(s).set_eof();
  notify(sw, s, kNotifyRx | kNotifyForce);
}

void closed(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  transport_done(sw, at(sw, id));
}

// --- Receive
// -------------------------------------------------------------------------------------------------------------

// Views of `length` bytes from `offset` in a chain; a 64 KB packet of 2 KB buffers has 33.
constexpr std::size_t kMaxParts = 64;

std::size_t gather(const Buffer& chain, uint32_t offset, uint32_t length,
                   svm::ByteView (&parts)[kMaxParts]) noexcept {
  std::size_t n = 0;
  for (const Buffer* b = &chain; b && length && n < kMaxParts; b = b->next) {
    if (offset >= b->len) {
      offset -= b->len;
      continue;
    }
    const uint32_t take = std::min(b->len - offset, length);
    parts[n++] = {b->data + offset, take};
    length -= take;
    offset = 0;
  }
  return n;
}

void after_store(SessionWorker& sw, Session& s) noexcept {
  if (!(s.flags & kHoldsChunks) && rx_of(s).holds_chunks()) watch_chunks(sw, s);
  if (rx_of(s).violation()) condemn(sw, *s.app);
}

// What one look at a chain has found, into the fifo. False: that is all it takes.
bool store_parts(SessionWorker& sw, Session& s, uint32_t ahead,
                 std::span<const svm::ByteView> parts, uint32_t bytes,
                 svm::DaemonFifoProducer::Placed& placed) noexcept {
  auto rx = rx_of(s);
  const auto p = rx.enqueue_at(ahead, parts);
  placed.taken += p.taken;
  placed.advanced += p.advanced;
  if (p.taken == bytes) return true;
  if (rx.refresh() != 0) {  // there is space, so it was memory
    ++sw.counters[kNoSegmentMemory];
    ask_growth(sw, *s.app);
  }
  return false;
}

void store_chain(SessionWorker& sw, Session& s, uint32_t ahead, const Buffer& chain,
                 uint32_t offset, uint32_t length,
                 svm::DaemonFifoProducer::Placed& placed) noexcept {
  svm::ByteView parts[kMaxParts];
  while (length != 0) {
    const std::size_t n = gather(chain, offset, length, parts);
    uint32_t bytes = 0;
    for (std::size_t i = 0; i < n; ++i) bytes += static_cast<uint32_t>(parts[i].size());
    if (bytes == 0) break;
    const uint32_t before = placed.advanced;
    if (!store_parts(sw, s, ahead, std::span<const svm::ByteView>(parts, n), bytes, placed)) break;
    offset += bytes;
    length -= bytes;
    if (ahead != 0 || placed.advanced == before) ahead += bytes;
  }
}

svm::DaemonFifoProducer::Placed store(SessionWorker& sw, Session& s, uint32_t ahead,
                                      const Buffer& chain, uint32_t offset,
                                      uint32_t length) noexcept {
  svm::DaemonFifoProducer::Placed placed;
  if (!s.shared || s.state == State::kClosing) return placed;
  if (length <= chain.len && offset <= chain.len - length) [[likely]] {  // no list of a KB
    const svm::ByteView whole{chain.data + offset, length};
    if (length != 0) (void)store_parts(sw, s, ahead, {&whole, 1}, length, placed);
  } else {
    store_chain(sw, s, ahead, chain, offset, length, placed);
  }
  after_store(sw, s);
  return placed;
}

uint32_t rx_enqueue(Worker& w, SessionId id, const Buffer& chain, uint32_t offset,
                    uint32_t length) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  const auto placed = store(sw, s, 0, chain, offset, length);
  if (placed.advanced != 0) notify(sw, s, kNotifyRx);
  return placed.advanced;
}

bool rx_enqueue_at(Worker& w, SessionId id, uint32_t ahead, const Buffer& chain, uint32_t offset,
                   uint32_t length) noexcept {
  SessionWorker& sw = of(w);
  return store(sw, at(sw, id), ahead, chain, offset, length).taken == length;
}

uint32_t rx_ooo_ranges(Worker& w, SessionId id,
                       std::span<std::pair<uint32_t, uint32_t>> out) noexcept {
  Session& s = at(of(w), id);
  if (!s.shared) return 0;
  svm::OooRange ranges[8];
  const uint32_t n = rx_of(s).ooo_ranges(std::span(ranges, std::min<std::size_t>(out.size(), 8)));
  for (uint32_t i = 0; i < n; ++i) out[i] = {ranges[i].start, ranges[i].end};
  return n;
}

uint32_t rx_space(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (!s.shared) return s.rx.size;
  auto rx = rx_of(s);
  const uint32_t space = rx.refresh();
  if (rx.violation()) [[unlikely]]
    condemn(sw, *s.app);
  return space;
}

uint32_t rx_size(Worker& w, SessionId id) noexcept { return at(of(w), id).rx.size; }

bool rx_await(Worker& w, SessionId id, uint32_t bytes) noexcept {
  Session& s = at(of(w), id);
  return s.shared && s.state != State::kClosing && rx_of(s).want_space(bytes);
}

void rx_want_space(Worker& w, SessionId id) noexcept {
  Session& s = at(of(w), id);
  if (!s.shared || s.state == State::kClosing) return;
  // Half of the fifo: large enough for few updates, early enough that the sender does not run dry.
  if (!rx_await(w, id, s.rx.size / 2)) {
    const TransportOps* ops = ops_of(of(w), s);
    if (ops->rx_drained) ops->rx_drained(w, s.conn);
  }
}

uint32_t rx_reserve(Worker& w, SessionId id, uint32_t n,
                    std::span<std::span<std::byte>> out) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (!s.shared || s.state == State::kClosing || n == 0) return 0;
  auto rx = rx_of(s);
  const uint32_t views = rx.reserve(n, out);
  if (rx.violation()) {
    condemn(sw, *s.app);
  } else if (views == 0 && rx.refresh() != 0) {  // there is space, so it was memory
    ++sw.counters[kNoSegmentMemory];
    ask_growth(sw, *s.app);
  }
  return views;
}

void rx_commit(Worker& w, SessionId id, uint32_t n) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (!s.shared || s.state == State::kClosing) return;
  rx_of(s).commit(n);
  after_store(sw, s);
  if (n != 0) notify(sw, s, kNotifyRx);
}

void rx_tell(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (s.shared && s.state != State::kClosing) notify(sw, s, kNotifyRx | kNotifyForce);
}

// --- Send
// ------------------------------------------------------------------------------------------------------------------

uint32_t tx_queued(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (!s.shared) return 0;
  auto tx = tx_of(s);
  const uint32_t n = tx.refresh();
  if (tx.violation()) condemn(sw, *s.app);
  const uint32_t waiting = s.hold.total_deferred();
  return n > waiting ? n - waiting : 0;
}

bool tx_append(Worker& w, SessionId id, uint32_t offset, uint32_t length, Buffer& first) noexcept {
  SessionWorker& sw = of(w);
  return append_tx(sw, at(sw, id), offset, length, first);
}

uint32_t tx_views(Worker& w, SessionId id, std::span<std::span<const std::byte>> out) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (!s.shared) return 0;
  auto tx = tx_of(s);
  const uint32_t queued = tx.available();
  const uint32_t views = queued == 0 ? 0 : tx.segments(0, queued, out);
  if (tx.violation()) condemn(sw, *s.app);
  return views;
}

void tx_drop(Worker& w, SessionId id, uint32_t n) noexcept {
  SessionWorker& sw = of(w);
  Session& s = at(sw, id);
  if (!s.shared) return;
  TxHold& h = s.hold;
  if (!h.any()) {
    drop_tx(sw, s, n);
    return;
  }
  h.deferred[h.epoch] += n;
  if (h.refs[h.epoch ^ 1] == 0) h.epoch ^= 1;
}

void tx_schedule(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  schedule(sw, at(sw, id));
}

void prefetch(Worker& w, std::span<const SessionId> ids) noexcept { prefetch_sessions(of(w), ids); }

}  // namespace

// Two passes, so that the misses of all sessions overlap, and those of what they lead to.
void prefetch_sessions(SessionWorker& sw, std::span<const SessionId> ids) noexcept {
  constexpr std::size_t kUsed = offsetof(Session, home);  // by packets
  for (const SessionId id : ids) {
    const auto* p = reinterpret_cast<const std::byte*>(&sw.pool.at(id));
    for (std::size_t at = 0; at < kUsed; at += kCacheLine) __builtin_prefetch(p + at);
    __builtin_prefetch(p + kUsed - 1);
  }
  for (const SessionId id : ids) {
    const Session& s = sw.pool.at(id);
    // Who is on the way to another worker, or has gone there, is no longer ours to look into.
    if (s.state == State::kMigrated || !s.shared || s.is_cut_through()) continue;
    const svm::SessionShared& fifos = s.fifos();
    if (s.app_end.due & AppEnd::kKnown)
      __builtin_prefetch(s.app_end.context);
    else
      __builtin_prefetch(s.shared);  // its owner, outside
    __builtin_prefetch(&fifos.daemon);
    __builtin_prefetch(&fifos.rx_consumer);
    __builtin_prefetch(&fifos.tx_producer);
  }
}

void fill_ops(Ops& o) noexcept {
  o.struct_size = sizeof(SessionOps);
  o.lookup4 = lookup<FlowKey4>;
  o.lookup6 = lookup<FlowKey6>;
  o.flow_add = flow_add;
  o.flow_del = flow_del;
  o.flow_open = flow_open;
  o.accept_allowed = accept_allowed;
  o.accepted = accepted;
  o.connected = connected;
  o.peer_closed = peer_closed;
  o.reset = session_reset;
  o.closed = closed;
  o.rx_enqueue = rx_enqueue;
  o.rx_enqueue_at = rx_enqueue_at;
  o.rx_ooo_ranges = rx_ooo_ranges;
  o.rx_space = rx_space;
  o.rx_size = rx_size;
  o.rx_want_space = rx_want_space;
  o.rx_await = rx_await;
  o.tx_queued = tx_queued;
  o.tx_append = tx_append;
  o.tx_drop = tx_drop;
  o.tx_schedule = tx_schedule;
  o.handle = [](Worker& w, SessionId id) noexcept {
    SessionWorker& sw = of(w);
    return handle_of(sw, at(sw, id));
  };
  o.apps = &kAppCalls;
  o.flow_bind = flow_bind;
  o.flow_unbind = flow_unbind;
  o.flow_bind_shared = flow_bind_shared;
  o.flow_unbind_shared = flow_unbind_shared;
  o.flow_share = flow_share;
  o.flow_unshare = flow_unshare;
  o.rx_datagram = rx_datagram;
  o.soft_error = soft_error;
  o.call_fails = call_fails;
  o.unreachable = unreachable;
  o.datagram_error = datagram_error;
  o.prefetch = prefetch;
  o.tx_views = tx_views;
  o.rx_reserve = rx_reserve;
  o.rx_commit = rx_commit;
  o.rx_tell = rx_tell;
  o.tx_datagram = tx_datagram;
  o.take_membership = take_membership;
  o.give_back_memberships = give_back_memberships;
  o.chosen_ports = [](Worker& w, uint16_t* first, uint16_t* last) noexcept {
    const SessionConfig& c = of(w).layer->config;
    *first = c.min_src_port;
    *last = c.max_src_port;
  };
  o.listener_on = listener_on;
  o.owner = [](Worker& w, SessionId id) noexcept {
    const App& app = *at(of(w), id).app;
    return SocketOwner{app.ns->index, app.uid};
  };
  o.flow_move = [](Worker& w, const Endpoints& e, uint8_t protocol, ConnId conn) noexcept {
    of(w).layer->flows->move(e, protocol, static_cast<uint8_t>(w.index), conn);
  };
}

}  // namespace loom::session
