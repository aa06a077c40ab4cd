// TransportOps: what the session layer asks of UDP. Sending is in send.cc.
#include <hostloom/net.h>

#include <string>

#include "output.h"

namespace loom::udp {
namespace {

// The addresses that `e` is to have, without the flow table: whether they may be.
Status check_ends(UdpWorker& u, const Connection& c, const Endpoints& e) noexcept {
  if (!e.local.is_zero() && !u.w.net->is_local(u.w, e.local, e.fib_index))
    return Status::kNotFound;  // it is nobody's, or a group's
  if (e.remote_port == 0) return Status::kOk;
  if (!is_unicast(e.remote)) return Status::kInvalid;
  return c.may_reach(e.remote.is_ip4) ? Status::kOk : Status::kInvalid;
}

// The 5-tuple with its source address and port, in the flow table.
Status claim_peer(UdpWorker& u, const Connection& c, Endpoints& e) noexcept {
  const SessionOps& sessions = *u.w.sessions;
  if (const Status s = sessions.flow_open(u.w, e, kProtoUdp, c.id); s != Status::kOk) return s;
  const Status s = sessions.flow_add(u.w, e, kProtoUdp, FlowKind::kEstablished, c.id);
  if (s != Status::kOk) sessions.flow_del(u.w, e, kProtoUdp);
  return s;
}

// The local end alone.
Status claim_bound(UdpWorker& u, const Connection& c, Endpoints& e) noexcept {
  return u.w.sessions->flow_bind(u.w, e, kProtoUdp, c.dual_stack(), c.id);
}

void release(UdpWorker& u, const Connection& c, const Endpoints& e) noexcept {
  if (e.remote_port != 0)
    u.w.sessions->flow_del(u.w, e, kProtoUdp);
  else
    u.w.sessions->flow_unbind(u.w, e, kProtoUdp, c.dual_stack());
}

Status connect(Worker& w, SessionId session, Endpoints& e, const SocketOptionsView& options,
               ConnId* out) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.alloc();
  if (!c) return Status::kNoMemory;
  if (e.remote_port != 0) e.local.is_ip4 = e.remote.is_ip4;
  c->session = session;
  c->bound = e.local;
  c->v6only = options.v6only;
  c->tos = options.tos;
  Status s = check_ends(u, *c, e);
  if (s == Status::kOk) s = e.remote_port != 0 ? claim_peer(u, *c, e) : claim_bound(u, *c, e);
  if (s != Status::kOk) {
    u.connections.free(*c);
    return s;
  }
  c->ends = e;
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
    if (now.local.is_zero())  // by route
      now.local = e.remote.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
    if (const Status s = check_ends(u, *c, now); s != Status::kOk) return s;
  } else {
    now.local = c->bound;
    now.remote = c->bound.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
    now.remote_port = 0;
  }
  const bool is_same =
      c->ends.remote_port == e.remote_port && (!wants_peer || c->ends.remote == e.remote);
  if (!is_same) {
    const Status s = wants_peer ? claim_peer(u, *c, now) : claim_bound(u, *c, now);
    if (s != Status::kOk) return s;
    // Only now: between the two a packet finds either entry, and both name this connection.
    release(u, *c, c->ends);
    c->ends = now;
    c->route_generation = c->mtu = c->pmtu = 0;
  }
  e = c->ends;
  return Status::kOk;
}

void end(UdpWorker& u, Connection& c) noexcept {
  release(u, c, c.ends);
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
  Connection* c = udp_worker(w).connections.find(id);
  if (!c) return Status::kNotConnected;
  c->tos = options.tos;
  return Status::kOk;
}

// Linux's states for UDP in /proc/net/udp: 1 with a peer, 7 without.
void info(Worker& w, ConnId id, ConnectionInfo& out) noexcept {
  out = {};
  const Connection* c = udp_worker(w).connections.find(id);
  if (!c) return;
  out.endpoints = c->ends;
  out.state = c->has_peer() ? 1 : 7;
  out.pmtu = c->pmtu ? c->pmtu : c->mtu;
  out.segs_in = static_cast<uint32_t>(c->received);
  out.segs_out = static_cast<uint32_t>(c->sent);
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
                                 .set_peer = set_peer};

}  // namespace loom::udp
