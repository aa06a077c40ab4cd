// TransportOps: what the session layer asks of UDP. Sending is in send.cc.
#include <hostloom/net.h>

#include <string>

#include "groups.h"
#include "output.h"

namespace loom::udp {
namespace {

bool is_subnet_broadcast(UdpWorker& u, const IpAddress& a, uint32_t fib_index) noexcept {
  GroupDestination d;
  d.to = a;
  d.fib_index = fib_index;
  RouteInfo route;
  return a.is_ip4 && !is_multicast(a) && u.w.net->route_group(u.w, d, &route) == Status::kOk;
}

// Bound to one, it hears what is sent there, and sends from another.
bool is_group_or_broadcast(UdpWorker& u, const IpAddress& a, uint32_t fib_index) noexcept {
  return !a.is_zero() && (!is_unicast(a) || is_subnet_broadcast(u, a, fib_index));
}

IpAddress any_of(bool is_ip4) noexcept {
  return is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
}

// The addresses that `e` is to have, without the flow table: whether they may be.
Status check_ends(UdpWorker& u, const Connection& c, const Endpoints& e) noexcept {
  if (!e.local.is_zero() && is_unicast(e.local) && !u.w.net->is_local(u.w, e.local, e.fib_index) &&
      !is_subnet_broadcast(u, e.local, e.fib_index))
    return Status::kNotFound;
  if (e.remote_port == 0) return Status::kOk;
  if (e.remote.is_zero() || !c.may_reach(e.remote.is_ip4) || e.local.is_ip4 != e.remote.is_ip4)
    return Status::kInvalid;
  const bool is_broadcast =
      !is_multicast(e.remote) &&
      (!is_unicast(e.remote) || is_subnet_broadcast(u, e.remote, e.fib_index));
  return is_broadcast && !c.broadcast ? Status::kPermission : Status::kOk;
}

LocalEnd local_end(const Connection& c, const Endpoints& e) noexcept {
  return {.address = e.local,
          .port = e.local_port,
          .dual_stack = e.remote_port == 0 && c.dual_stack(),
          .reuseaddr = c.reuseaddr,
          .reuseport = c.reuseport,
          .owner = c.owner};
}

PortSearch new_search(UdpWorker& u) noexcept {
  uint16_t first = 0, last = 0;
  u.w.sessions->chosen_ports(u.w, &first, &last);
  const uint32_t n = static_cast<uint32_t>(last) - first + 1;
  return {.first = first, .n = n, .start = static_cast<uint32_t>(u.w.random() % n)};
}

SocketOptionsView share_of(const Connection& c) noexcept {
  SocketOptionsView share;
  share.reuseport = c.reuseport;
  share.reuseaddr = c.reuseaddr;
  return share;
}

// Beside those who agree to share the port, with whatever peers.
Status share_peer(UdpWorker& u, const Connection& c, LocalPorts::Table& ports,
                  Endpoints& e) noexcept {
  RouteInfo route;
  if (e.local.is_zero()) {
    if (u.w.net->route(u.w, e.remote, e.fib_index, &route) != Status::kOk)
      return Status::kUnreachable;
    e.local = route.source;
  }
  if (const Status s = ports.take(local_end(c, e)); s != Status::kOk) return s;
  const Status s = u.w.sessions->flow_share(u.w, e, kProtoUdp, c.id, c.session, share_of(c));
  if (s != Status::kOk) ports.remove(local_end(c, e));
  return s;
}

void leave_flow(UdpWorker& u, const Connection& c, const Endpoints& e) noexcept {
  if (c.shares_end())
    u.w.sessions->flow_unshare(u.w, e, kProtoUdp, c.id);
  else
    u.w.sessions->flow_del(u.w, e, kProtoUdp);
}

// Whoever has the port besides; without one the flow table chooses.
Status enter_peer(UdpWorker& u, const Connection& c, LocalPorts::Table& ports,
                  Endpoints& e) noexcept {
  const SessionOps& sessions = *u.w.sessions;
  if (c.shares_end() && e.local_port != 0)
    if (const Status s = share_peer(u, c, ports, e); s != Status::kInUse) return s;
  if (const Status s = sessions.flow_open(u.w, e, kProtoUdp, c.id); s != Status::kOk) return s;
  Status s = ports.add(local_end(c, e));
  if (s == Status::kOk) {
    s = sessions.flow_add(u.w, e, kProtoUdp, FlowKind::kEstablished, c.id);
    if (s != Status::kOk) ports.remove(local_end(c, e));
  }
  if (s != Status::kOk) leave_flow(u, c, e);
  return s;
}

// At the first port that nobody has and that enter(its end) gets. kInUse: there is none.
template <class Enter>
Status enter_free(UdpWorker& u, const Connection& c, LocalPorts::Table& ports, Endpoints& e,
                  Enter&& enter) noexcept {
  LocalEnd end = local_end(c, e);
  PortSearch search = new_search(u);
  Status s;
  while ((s = ports.take_free(end, search)) == Status::kOk) {
    e.local_port = end.port;
    s = enter(end);
    if (s == Status::kOk) return s;
    ports.remove(end);
    if (s != Status::kInUse) break;
  }
  e.local_port = 0;
  return s;
}

// At a port that nobody has. Where there is none, one that others have with other peers.
Status choose_with_peer(UdpWorker& u, const Connection& c, LocalPorts::Table& ports,
                        Endpoints& e) noexcept {
  const Status s = enter_free(u, c, ports, e, [&](const LocalEnd& end) {
    const Status entered = enter_peer(u, c, ports, e);
    if (entered == Status::kOk) ports.remove(end);  // it has the one with its address by now
    return entered;
  });
  return s == Status::kInUse ? enter_peer(u, c, ports, e) : s;
}

// The 5-tuple with its source address and port, in the flow table.
Status claim_peer(UdpWorker& u, const Connection& c, Endpoints& e) noexcept {
  IpAddress from = e.local;
  if (from.is_zero() && e.remote.is_ip4 && is_multicast(e.remote)) from = c.ip4_group_source;
  if (e.local.is_zero() || c.interface != kNoIndex) {  // the route says no source to those
    const bool is_chosen = e.local.is_zero() && !from.is_zero();
    if (is_chosen && !u.w.net->is_local(u.w, from, e.fib_index)) return Status::kUnreachable;
    Way way;
    if (find_group_way(u, c, e.remote, from, e.fib_index, c.interface, way)) {
      if (e.local.is_zero()) e.local = is_chosen ? from : way.ends.local;
    } else if (is_chosen || c.interface != kNoIndex) {
      return Status::kUnreachable;
    }
  }
  LocalPorts::Table* const ports = shared().local_ports->of(e.fib_index);
  if (!ports) return Status::kNoMemory;
  return e.local_port != 0 ? enter_peer(u, c, *ports, e) : choose_with_peer(u, c, *ports, e);
}

Status enter_bound(UdpWorker& u, const Connection& c, Endpoints& e) noexcept {
  const SessionOps& sessions = *u.w.sessions;
  if (!c.shares_end()) return sessions.flow_bind(u.w, e, kProtoUdp, c.dual_stack(), c.id);
  return sessions.flow_bind_shared(u.w, e, kProtoUdp, c.dual_stack(), c.id, c.session, share_of(c));
}

void leave_bound(UdpWorker& u, const Connection& c, const Endpoints& e) noexcept {
  if (c.shares_end())
    u.w.sessions->flow_unbind_shared(u.w, e, kProtoUdp, c.dual_stack(), c.id);
  else
    u.w.sessions->flow_unbind(u.w, e, kProtoUdp, c.dual_stack());
}

// The local end alone. `had`: by a socket that had it before its peer, so nobody is asked.
Status claim_bound(UdpWorker& u, const Connection& c, Endpoints& e, bool had = false) noexcept {
  LocalPorts::Table* const ports = shared().local_ports->of(e.fib_index);
  if (!ports) return Status::kNoMemory;
  Status s = Status::kOk;
  if (e.local_port != 0) {
    const LocalEnd end = local_end(c, e);
    s = had ? ports->add(end) : ports->take(end);  // first, so that nobody else has it meanwhile
    if (s != Status::kOk) return s;
    s = enter_bound(u, c, e);
    if (s != Status::kOk) ports->remove(end);
  } else {
    // The flow table hears of the one that is taken only: packets of others would find what is
    // entered there to see.
    s = enter_free(u, c, *ports, e, [&](const LocalEnd&) { return enter_bound(u, c, e); });
    if (s == Status::kInUse) {  // then one of a socket that has it with a peer
      s = enter_bound(u, c, e);
      if (s != Status::kOk) return s;
      s = ports->add(local_end(c, e));
      if (s != Status::kOk) leave_bound(u, c, e);
    }
  }
  if (s == Status::kOk) note_bound(u, c, e.local_port);
  return s;
}

void release(UdpWorker& u, const Connection& c, const Endpoints& e) noexcept {
  if (e.remote_port != 0) {
    leave_flow(u, c, e);
  } else {
    note_unbound(u, c, e.local_port);
    leave_bound(u, c, e);
  }
  shared().local_ports->of(e.fib_index)->remove(local_end(c, e));  // last: nobody's only now
}

// At a port that it has asked for: what it may not be bound to, it may not have with a peer either.
Status claim_named_with_peer(UdpWorker& u, const Connection& c, Endpoints& e) noexcept {
  Endpoints alone = e;
  alone.local = c.bound;
  alone.remote = any_of(c.bound.is_ip4);
  alone.remote_port = 0;
  if (c.shares_end()) {  // others have bound it, and the flow table has to see that it may
    if (const Status s = claim_bound(u, c, alone); s != Status::kOk) return s;
    const Status s = claim_peer(u, c, e);
    release(u, c, alone);
    return s;
  }
  LocalPorts::Table* const ports = shared().local_ports->of(e.fib_index);
  if (!ports) return Status::kNoMemory;
  if (const Status s = ports->take(local_end(c, alone)); s != Status::kOk) return s;
  const Status s = claim_peer(u, c, e);
  ports->remove(local_end(c, alone));
  return s;
}

Status claim(UdpWorker& u, const Connection& c, Endpoints& e) noexcept {
  if (e.remote_port == 0) return claim_bound(u, c, e);
  return e.local_port != 0 ? claim_named_with_peer(u, c, e) : claim_peer(u, c, e);
}

void note_peer(UdpWorker& u, Connection& c) noexcept {
  const Endpoints& e = c.ends;
  c.has_group_peer = e.remote_port != 0 &&
                     (!is_unicast(e.remote) || is_subnet_broadcast(u, e.remote, e.fib_index));
}

// Those that count whenever they change.
void take_options(UdpWorker& u, Connection& c, const SocketOptionsView& o) noexcept {
  c.ip4_tos = o.tos_of(true);
  c.ip6_class = o.tos_of(false);
  c.ip4_path_mtu = o.ip4_path_mtu;
  c.ip6_path_mtu = o.ip6_path_mtu;
  c.dont_fragment6 = o.dont_fragment6;
  c.ip4_errors = o.ip4_errors;
  c.ip6_errors = o.ip6_errors;
  c.no_check6_rx = o.no_check6_rx;
  if (c.interface != o.interface) c.mtu = 0;  // another way to the peer
  c.interface = o.interface;
  c.broadcast = o.broadcast;
  c.ip4_group_loop = o.ip4_group_loop;
  c.ip6_group_loop = o.ip6_group_loop;
  c.ip4_group_all = o.ip4_group_all;
  c.ip6_group_all = o.ip6_group_all;
  c.ip4_group_if = o.ip4_group_if;
  c.ip6_group_if = o.ip6_group_if;
  c.ip4_group_source = o.ip4_group_source;
  u.n_gro += o.gro;
  u.n_gro -= c.gro;
  c.gro = o.gro;
}

Status connect(Worker& w, SessionId session, Endpoints& e, const SocketOptionsView& options,
               ConnId* out) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.alloc();
  if (!c) return Status::kNoMemory;
  c->session = session;
  c->owner = w.sessions->owner(w, session);
  c->bound = e.local;
  c->v6only = options.v6only;
  c->has_chosen_port = e.local_port == 0;
  c->is_group_bound = is_group_or_broadcast(u, e.local, e.fib_index);
  if (e.remote_port != 0 && c->is_group_bound) e.local = any_of(e.local.is_ip4);  // by route
  // An IPv6 socket with a peer of IPv4's stays one of both.
  if (e.remote_port != 0 && c->bound.is_zero()) e.local.is_ip4 = e.remote.is_ip4;
  c->reuseport = options.reuseport;
  c->reuseaddr = options.reuseaddr;
  take_options(u, *c, options);
  Status s = check_ends(u, *c, e);
  if (s == Status::kOk) s = claim(u, *c, e);
  if (s != Status::kOk) {
    u.n_gro -= c->gro;
    u.connections.free(*c);
    return s;
  }
  c->ends = e;
  note_peer(u, *c);
  *out = c->id;
  return Status::kOk;
}

Status set_peer(Worker& w, ConnId id, Endpoints& e) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.find(id);
  if (!c) return Status::kNotConnected;
  Endpoints now = c->ends;
  const bool wants_peer = e.remote_port != 0;
  if (wants_peer) {
    now.remote = e.remote;
    now.remote_port = e.remote_port;
    now.fib_index = e.fib_index;
    now.local = c->bound;
    if (c->is_group_bound) now.local = any_of(c->bound.is_ip4);  // by route
    if (c->bound.is_zero()) now.local = any_of(e.remote.is_ip4);
    if (const Status s = check_ends(u, *c, now); s != Status::kOk) return s;
  } else {
    now.local = c->bound;
    if (c->has_chosen_port) now.local_port = 0;  // others may have that one; another is chosen
    now.remote = any_of(c->bound.is_ip4);
    now.remote_port = 0;
  }
  const bool is_same =
      c->ends.remote_port == e.remote_port && (!wants_peer || c->ends.remote == e.remote);
  if (!is_same) {
    const Status s = wants_peer ? claim_peer(u, *c, now) : claim_bound(u, *c, now, true);
    if (s != Status::kOk) return s;
    // Only now: between the two a packet finds either entry, and both name this connection.
    release(u, *c, c->ends);
    c->ends = now;
    c->route_generation = c->mtu = c->pmtu = 0;
    c->pmtu_news = ~0u;
    note_peer(u, *c);
  }
  e = c->ends;
  return Status::kOk;
}

void end(UdpWorker& u, Connection& c) noexcept {
  release(u, c, c.ends);
  leave_all(u, c);
  u.n_gro -= c.gro;
  u.connections.free(c);
}

void close(Worker& w, ConnId id, bool) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.find(id);
  if (!c) return;
  const SessionId session = c->session;
  end(u, *c);
  w.sessions->closed(w, session);
}

void abort(Worker& w, ConnId id) noexcept {
  UdpWorker& u = udp_worker(w);
  if (Connection* c = u.connections.find(id)) end(u, *c);
}

Status set_options(Worker& w, ConnId id, const SocketOptionsView& options) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.find(id);
  if (!c) return Status::kNotConnected;
  take_options(u, *c, options);
  return Status::kOk;
}

// Linux's states for UDP in /proc/net/udp: 1 with a peer, 7 without.
void info(Worker& w, ConnId id, ConnectionInfo& out) noexcept {
  out = {};
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.find(id);
  if (!c) return;
  out.endpoints = c->ends;
  out.state = c->has_peer() ? 1 : 7;
  if (Way way; c->has_peer() && find_way_to_peer(u, *c, way)) out.pmtu = way.mtu();
  out.segs_in = static_cast<uint32_t>(c->received);
  out.segs_out = static_cast<uint32_t>(c->sent);
}

uint32_t path_mtu(Worker& w, ConnId id, const IpAddress& to, uint32_t fib_index) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.find(id);
  if (!c) return 0;
  Way way;
  const bool is_peer = c->has_peer() && c->ends.remote == to && c->ends.fib_index == fib_index;
  if (!(is_peer
            ? find_way_to_peer(u, *c, way)
            : find_group_way(u, *c, to, {}, fib_index, c->interface, way) ||
                  (c->interface == kNoIndex && is_unicast(to) && find_way(u, to, fib_index, way))))
    return 0;
  return asks_path(to.is_ip4 ? c->ip4_path_mtu : c->ip6_path_mtu) ? way.mtu() : way.link_mtu;
}

void describe(Worker& w, ConnId id, std::string& out) noexcept {
  const Connection* c = udp_worker(w).connections.find(id);
  if (!c) return;
  out += c->has_peer() ? "  CONNECTED" : "  BOUND";
  out += " received " + std::to_string(c->received) + " sent " + std::to_string(c->sent) +
         " rcvbuf-full " + std::to_string(c->overflowed) + "\n";
}
// Alone, without what moves connections: for cut-through.
SessionId session_of(Worker& w, ConnId id) noexcept {
  const Connection* c = udp_worker(w).connections.find(id);
  return c ? c->session : kNoSession;
}
}  // namespace

const TransportOps kTransportOps{.name = "udp",
                                 .proto = 1,  // VPPCOM_PROTO_UDP
                                 .ip_protocol = kProtoUdp,
                                 .tx_kind = TxKind::kDatagram,
                                 .connect = connect,
                                 .close = close,
                                 .abort = abort,
                                 .set_options = set_options,
                                 .info = info,
                                 .describe = describe,
                                 .session_of = session_of,
                                 .push_datagrams = push_datagrams,
                                 .set_peer = set_peer,
                                 .path_mtu = path_mtu,
                                 .group = change_membership};

}  // namespace loom::udp
