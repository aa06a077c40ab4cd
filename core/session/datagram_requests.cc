// Datagram sessions: what applications ask of them. A session is bound (its transport takes what
// comes to its local end) or has a peer as well; it never is a listener. Links with sessions of
// this host's applications are made where it gets its peer.
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include <atomic>

#include "net/net_ops.h"
#include "session/impl.h"

namespace loom::session {
namespace {

// What is sent there is for this host, too, if somebody here listens.
bool is_group(Worker& w, const IpAddress& a, uint32_t fib_index) noexcept {
  GroupDestination d;
  d.to = a;
  d.fib_index = fib_index;
  RouteInfo route;
  return w.net && w.net->route_group && w.net->route_group(w, d, &route) == Status::kOk;
}

}  // namespace

Status place_on(Worker& w, const Namespace& ns, const Endpoints& e, IfIndex interface) noexcept {
  const IfIndex own = ns.interface.load(std::memory_order_relaxed);
  if ((own != kNoIndex && own != interface) || !w.net || !w.net->route_group)
    return Status::kUnreachable;
  GroupDestination d;
  d.to = e.local.is_zero() ? e.remote : e.local;
  if (d.to.is_zero()) return Status::kOk;
  d.interface = interface;
  d.fib_index = e.fib_index;
  RouteInfo route;
  if (w.net->route_group(w, d, &route) != Status::kOk) return Status::kUnreachable;
  const bool is_here = e.local.is_zero() || route.is_local || is_group(w, e.local, e.fib_index);
  return is_here ? Status::kOk : Status::kNotFound;
}

Status place_bound(SessionWorker& sw, const App& app, Endpoints& e) noexcept {
  const Namespace& ns = *app.ns;
  e.remote = e.local.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  e.fib_index = ns.fibs().of(e.local.is_ip4);
  if (e.fib_index == kNoIndex) return Status::kUnreachable;
  const IfIndex interface = ns.interface.load(std::memory_order_relaxed);
  if (interface != kNoIndex) {
    // Any of its own: the one that it would send from.
    if (e.local.is_zero()) return source_on(*sw.worker, interface, e.remote, &e.local);
    return has_address(*sw.worker, interface, e.local) || is_group(*sw.worker, e.local, e.fib_index)
               ? Status::kOk
               : Status::kNotFound;
  }
  if (e.local.is_zero() || !sw.worker->net) return Status::kOk;
  return sw.worker->net->is_local(*sw.worker, e.local, e.fib_index) ||
                 is_group(*sw.worker, e.local, e.fib_index)
             ? Status::kOk
             : Status::kNotFound;
}

namespace {

// Of scope local; a redirect would need a listener, which datagrams do not have. Never
// kUnsupported: who has another network to try would do so, past the rule.
Status pass_rules(SessionWorker& sw, const App& app, ConnectArgs& args, bool is_new) noexcept {
  if (!sw.layer->filters->has_egress()) [[likely]]
    return Status::kOk;
  Listener* to = nullptr;
  const Status status = sw.layer->filters->filter_connect(sw, app, args, is_new, to);
  return status == Status::kUnsupported || to ? Status::kRefused : status;
}

// True: `then` is called when the pair of applications is there that a link with the peer would
// need, or cannot be made.
template <class F>
bool await_pair(SessionWorker& sw, AppWorker& a, TransportId transport, const Endpoints& e,
                F&& then) {
  Session* to = find_datagram_peer(sw, *a.app, transport, e);
  if (!to || pair_of(sw, *a.app, *to->app)) return false;
  return ask_pair(sw, a, *to->app, [then](SessionWorker& at, AppWorker& caller, Status) {
           then(at, caller);
         }) == Status::kOk;
}

}  // namespace

Endpoints flow_with(SessionWorker& sw, const Session& s, const TransportOps& ops,
                    Endpoints to) noexcept {
  ConnectionInfo c;
  if (ops.info) ops.info(*sw.worker, s.conn, c);
  to.local_port = c.endpoints.local_port;
  if (!c.endpoints.local.is_zero() && c.endpoints.local.is_ip4 == to.remote.is_ip4) {
    to.local = c.endpoints.local;
  } else if (const NetOps* net = sw.worker->net) {
    RouteInfo route{};
    if (net->route(*sw.worker, to.remote, to.fib_index, &route) == Status::kOk)
      to.local = route.source;
  }
  return to;
}

void open_datagram(SessionWorker& sw, AppWorker& a, const svm::ConnectEvent& c, ConnectArgs& args,
                   bool is_new) noexcept {
  Endpoints& e = args.endpoints;
  Status status = Status::kOk;
  const bool has_interface = c.options.interface != 0;
  const IfIndex by = IfIndex{c.options.interface} - 1;  // 0: kNoIndex
  if (c.local.is_ip4 > 1) {
    ++sw.counters[kBadRequest];
    status = Status::kInvalid;
  } else if (!a.app->scope.global) {
    status = Status::kUnreachable;
  } else if (c.remote.port == 0) {
    // Both families on one port need one table for both.
    const FibPair fibs = a.app->ns->fibs();
    if (fibs.ip4 != fibs.ip6) args.options.v6only = true;
    status = place_bound(sw, *a.app, e);
    if (status == Status::kOk && has_interface) status = place_on(*sw.worker, *a.app->ns, e, by);
  } else {
    status = place_connect(sw, *a.app, e, by);
    if (status == Status::kOk && has_interface) status = place_on(*sw.worker, *a.app->ns, e, by);
    if (status == Status::kOk) status = pass_rules(sw, *a.app, args, is_new);
    if (status == Status::kOk && is_new && !has_interface &&
        await_pair(sw, a, args.transport, e,
                   [c](auto& at, auto& caller) { connect(at, caller, c, {.deadline = 1}); }))
      return;
  }
  Session* s = nullptr;
  if (status == Status::kOk) status = open_connection(sw, *a.app, args, &s);
  if (status != Status::kOk) refuse_connect(sw, a, c.context, status);
}

uint32_t worker_for(SessionWorker& sw, const App& app, const svm::ConnectEvent& c) noexcept {
  uint32_t worker = sw.worker->index;
  const TransportId transport = sw.layer->transports.find_proto(c.proto);
  const TransportOps* ops = sw.layer->transports.get(transport);
  if (!ops || ops->tx_kind != TxKind::kDatagram || c.remote.port == 0 || c.local.port != 0 ||
      c.remote.is_ip4 > 1 || c.local.is_ip4 != c.remote.is_ip4 || c.options.interface != 0)
    return worker;
  Endpoints e = endpoints_of(c.local, c.remote);
  if (place_connect(sw, app, e) == Status::kOk)
    (void)find_datagram_peer(sw, app, transport, e, &worker);
  return worker;
}

void set_peer(SessionWorker& sw, AppWorker& a, const svm::PeerEvent& p, bool is_new) noexcept {
  svm::ConnectedEvent event{};
  event.context = p.context;
  Session* s = find_session(sw, *a.app, p.handle);
  const TransportOps* ops = s ? ops_of(sw, *s) : nullptr;
  Status status = Status::kOk;
  ConnectArgs args;
  if (!s || !s->shared || !(s->flags & kTransportUp) || s->state == State::kClosing) {
    status = Status::kNotConnected;
  } else if (ops->tx_kind != TxKind::kDatagram || !ops->set_peer) {
    status = Status::kUnsupported;
  } else if (p.remote.is_ip4 > 1) {
    ++sw.counters[kBadRequest];
    status = Status::kInvalid;
  } else {
    svm::Endpoint any{};
    any.is_ip4 = p.remote.is_ip4;
    args.transport = s->transport;
    args.endpoints = endpoints_of(any, p.remote);
    args.endpoints.fib_index = a.app->ns->fibs().of(args.endpoints.remote.is_ip4);
    const bool is_nowhere = p.remote.port != 0 && (s->link_bound & kBoundElsewhere);
    if (args.endpoints.fib_index == kNoIndex || is_nowhere) status = Status::kUnreachable;
    if (status == Status::kOk && p.remote.port != 0) status = pass_rules(sw, *a.app, args, is_new);
    if (status == Status::kOk && is_new && p.remote.port != 0 && !(s->link_bound & kWithoutLinks) &&
        await_pair(sw, a, args.transport, flow_with(sw, *s, *ops, args.endpoints),
                   [p](auto& at, auto& caller) { set_peer(at, caller, p, false); }))
      return;
    if (status == Status::kOk) send_before(sw, *s);
    if (status == Status::kOk) status = ops->set_peer(*sw.worker, s->conn, args.endpoints);
    if (status == Status::kOk) {
      end_links(sw, *s, &p.remote);
      if (p.remote.port != 0) link_datagrams(sw, *s, args.endpoints);
      event.handle = handle_of(sw, *s);
      event.session = s->shared_ref;
      event.local = endpoint_of(args.endpoints.local, args.endpoints.local_port);
      event.remote = endpoint_of(args.endpoints.remote, args.endpoints.remote_port);
    }
  }
  event.status = static_cast<int32_t>(status);
  push_event(sw, a, svm::ToApp::kConnected, event);
}

void keep_own_source(SessionWorker& sw, const App& app, SocketOptionsView& v) noexcept {
  const IfIndex own = app.ns->interface.load(std::memory_order_relaxed);
  if (own != kNoIndex && !v.ip4_group_source.is_zero() &&
      !has_address(*sw.worker, own, v.ip4_group_source))
    v.ip4_group_source = {};
}

void note_options(SessionWorker& sw, Session& s, const SocketOptionsView& v) noexcept {
  const IfIndex asked = v.interface;
  const IfIndex own = s.app->ns->interface.load(std::memory_order_relaxed);
  const bool is_elsewhere = own != kNoIndex && own != asked;
  s.link_bound = v.arrival ? kTellsArrival : 0;
  if (v.answers_from) s.link_bound |= kTellsSource;
  if (asked != kNoIndex) s.link_bound |= kBoundToLink;
  if (asked != kNoIndex && is_elsewhere) s.link_bound |= kBoundElsewhere;
  if (!(s.link_bound & kWithoutLinks)) return;
  constexpr svm::Endpoint kNobody{};
  end_links(sw, s, &kNobody);
}

namespace {
bool has_default_route(Worker& w, bool is_ip4, uint32_t fib) noexcept {
  const IpAddress any = is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  RouteInfo route;
  return !w.net || w.net->route(w, any, fib, &route) == Status::kOk;
}

// What the answer says of a way that there is. kUnreachable, kNotFound, kInvalid: as PathEvent.
Status find_path(SessionWorker& sw, const App& app, const Session& s, const TransportOps& ops,
                 const svm::PathEvent& p, svm::InfoEvent& out) noexcept {
  Worker& w = *sw.worker;
  const Endpoints e = endpoints_of(p.source, p.remote);
  const uint32_t fib = app.ns->fibs().of(e.remote.is_ip4);
  const IfIndex by = p.interface - 1;  // 0: kNoIndex
  const IfIndex own = app.ns->interface.load(std::memory_order_relaxed);
  if (by != kNoIndex && ((own != kNoIndex && own != by) || !has_interface(w, by)))
    return Status::kNotFound;
  const bool has_source = !e.local.is_zero();
  if (has_source && e.local.is_ip4 != e.remote.is_ip4) return Status::kInvalid;
  if (has_source && !may_send_from(sw, app, e.local, fib)) return Status::kInvalid;
  RouteInfo route;
  if (by != kNoIndex) {
    const GroupDestination d{e.remote, e.local, by, fib};
    if (w.net->route_group(w, d, &route) != Status::kOk) return Status::kUnreachable;
    out.pmtu = route.mtu;
    out.path_bits = is_multicast(e.remote) ? 128 : 0;  // the link reaches whom no route does
    return Status::kOk;
  }
  out.pmtu = ops.path_mtu(w, s.conn, e.remote, fib);
  if (out.pmtu == 0) return Status::kUnreachable;
  // Everywhere by a link or a default route; else whoever is near is taken to be reached alike.
  // Groups go by ways of their own.
  if (is_multicast(e.remote))
    out.path_bits = 128;
  else if (!(s.link_bound & kBoundToLink) && !has_default_route(w, e.remote.is_ip4, fib))
    out.path_bits = e.remote.is_ip4 ? 24 : 64;
  return Status::kOk;
}
}  // namespace

uint8_t default_routes(SessionWorker& sw, const Session& s) noexcept {
  const TransportOps* ops = ops_of(sw, s);
  if (ops->tx_kind != TxKind::kDatagram || (s.link_bound & kBoundToLink) || !sw.worker->net)
    return 0;
  const FibPair fibs = s.app->ns->fibs();
  uint8_t found = 0;
  for (const bool is_ip4 : {false, true})
    if (const uint32_t fib = fibs.of(is_ip4);
        fib != kNoIndex && has_default_route(*sw.worker, is_ip4, fib))
      found |= static_cast<uint8_t>(1u << is_ip4);
  return found;
}

void path(SessionWorker& sw, AppWorker& a, const svm::PathEvent& p) noexcept {
  svm::InfoEvent event{};
  event.context = p.context;
  Session* s = find_session(sw, *a.app, p.handle);
  const TransportOps* ops = s ? ops_of(sw, *s) : nullptr;
  Status status;
  if (!s || !(s->flags & kTransportUp)) {
    status = Status::kNotConnected;
  } else if (!ops->path_mtu) {
    status = Status::kUnsupported;
  } else if (p.remote.is_ip4 > 1 || p.source.is_ip4 > 1) {
    ++sw.counters[kBadRequest];
    status = Status::kInvalid;
  } else if (a.app->ns->fibs().of(p.remote.is_ip4) == kNoIndex) {
    status = Status::kUnreachable;
  } else {
    status = find_path(sw, *a.app, *s, *ops, p, event);
  }
  event.status = static_cast<int32_t>(status);
  push_event(sw, a, svm::ToApp::kInfo, event);
}

void resize(SessionWorker& sw, AppWorker& a, const svm::ResizeEvent& r) noexcept {
  svm::InfoEvent event{};
  event.context = r.context;
  Session* s = find_session(sw, *a.app, r.handle);
  Status status = Status::kOk;
  if (!s || !s->shared || !(s->flags & kTransportUp) || s->state == State::kClosing) {
    status = Status::kNotConnected;
  } else if (ops_of(sw, *s)->tx_kind != TxKind::kDatagram) {
    status = Status::kUnsupported;
  } else {
    if (r.rx_fifo_size) {
      s->rx.size = fifo_size(r.rx_fifo_size);
      std::atomic_ref(s->shared->rx_size).store(s->rx.size, std::memory_order_relaxed);
    }
    // The application keeps to a smaller one by itself. What it has there is not against the rules.
    if (r.tx_fifo_size) {
      const uint32_t size = fifo_size(r.tx_fifo_size);
      if (s->tx.size < size) s->tx.size = size;  // before anybody may write more
      std::atomic_ref(s->shared->tx_size).store(size, std::memory_order_release);
    }
  }
  event.status = static_cast<int32_t>(status);
  push_event(sw, a, svm::ToApp::kInfo, event);
}

bool take_membership(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  if (sw.pool.at(id).app->memberships.take(1)) return true;
  ++sw.counters[kMembershipRefused];
  return false;
}

void give_back_memberships(Worker& w, SessionId id, uint32_t n) noexcept {
  of(w).pool.at(id).app->memberships.give_back(n);
}

void group(SessionWorker& sw, AppWorker& a, const svm::GroupEvent& g) noexcept {
  svm::InfoEvent event{};
  event.context = g.context;
  Session* s = find_session(sw, *a.app, g.handle);
  const TransportOps* ops = s ? ops_of(sw, *s) : nullptr;
  GroupFilterRow row;
  Status status;
  if (!s || !(s->flags & kTransportUp) || s->state == State::kClosing) {
    status = Status::kNotConnected;
  } else if (!ops->group) {
    status = Status::kUnsupported;
  } else if (g.group.is_ip4 > 1 || g.source.is_ip4 > 1 || g.address.is_ip4 > 1 ||
             g.op > static_cast<uint8_t>(GroupOp::kReadFilter)) {
    ++sw.counters[kBadRequest];
    status = Status::kInvalid;
  } else {
    GroupRequest r;
    r.op = static_cast<GroupOp>(g.op);
    r.number = g.number;
    r.filter = &row;
    r.interface = g.interface - 1;  // 0: kNoIndex
    r.group = endpoints_of(g.group, g.group).local;
    r.source = endpoints_of(g.source, g.source).local;
    r.address = endpoints_of(g.address, g.address).local;
    const Namespace& ns = *a.app->ns;
    r.fib_index = ns.fibs().of(r.group.is_ip4);
    // One that is bound to an interface has no other.
    const IfIndex only = ns.interface.load(std::memory_order_relaxed);
    if (only != kNoIndex) r.interface = only;
    status = r.fib_index == kNoIndex ? Status::kUnreachable : ops->group(*sw.worker, s->conn, r);
  }
  event.status = static_cast<int32_t>(status);
  if (status == Status::kOk && static_cast<GroupOp>(g.op) == GroupOp::kReadFilter) {
    const svm::FilterEvent filter{.context = g.context,
                                  .status = 0,
                                  .is_exclude = row.is_exclude,
                                  .n_sources = row.n_sources,
                                  .source = endpoint_of(row.source, 0)};
    return push_event(sw, a, svm::ToApp::kInfo, filter);
  }
  push_event(sw, a, svm::ToApp::kInfo, event);
}

}  // namespace loom::session
