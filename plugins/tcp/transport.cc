// TransportOps: what the session layer asks of TCP. Each call opens a TcpWorker::Scope.
#include <hostloom/net.h>

#include <algorithm>
#include <cstring>

#include "controller.h"
#include "half_open.h"
#include "info.h"
#include "isn.h"
#include "lifecycle.h"
#include "migrate.h"
#include "output.h"
#include "recovery.h"
#include "reset.h"
#include "timers.h"
#include "window.h"

namespace loom::tcp {
namespace {
constexpr TimeNs kCorkCeiling = 200 * kMillisecond;  // as Linux's TCP_CORK

// --- Opening.
// Claims the flow and, when the application left it open, the local end of it.
Status open_flow(TcpWorker& t, Ends& ends, ConnId id) noexcept {
  const auto open = [&] { return t.w.sessions->flow_open(t.w, ends, kProtoTcp, id); };
  // A link-local address is reached from another one only (RFC 6724 section 5, rule 2).
  const bool is_open = ends.local.is_zero() && !is_link_local(ends.remote) && ends.link == kNoIndex;
  const auto sources = is_open ? shared().sources.of(ends.fib_index, ends.remote.is_ip4)
                               : std::span<const IpAddress>();
  constexpr std::size_t kTries = 16;  // as many may have been taken from the host, or have no port
  const Ends asked = ends;
  for (std::size_t i = 0; i < std::min(kTries, sources.size()); ++i) {
    ends.local = sources[t.next_source++ % sources.size()];
    if (t.w.net->is_local(t.w, ends.local, ends.fib_index))
      if (const Status s = open(); s != Status::kInUse) return s;
    ends = asked;
  }
  if (ends.link != kNoIndex && ends.local.is_zero()) {
    RouteInfo route;
    if (const Status s = find_route(t, ends, &route); s != Status::kOk) return s;
    ends.local = route.source;
  }
  return open();
}

Status connect(Worker& w, SessionId session, Endpoints& endpoints, const SocketOptionsView& options,
               ConnId* out) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  if (!is_unicast(endpoints.remote) || endpoints.remote_port == 0) return Status::kInvalid;
  Connection* c = t.connections.alloc();
  if (!c) return Status::kNoMemory;
  endpoints.local.is_ip4 = endpoints.remote.is_ip4;
  Ends ends{endpoints, options.interface};
  if (const Status s = open_flow(t, ends, c->id); s != Status::kOk) {
    t.connections.free(*c);
    return s;
  }
  endpoints = ends;
  init_timers(*c);
  c->session = session;
  c->set_ends(ends);
  if (!refresh_route(t, *c)) {
    w.sessions->flow_del(w, ends, kProtoTcp);
    t.connections.free(*c);
    return Status::kUnreachable;
  }
  const InitialNumbers numbers = initial_numbers(shared().key, ends, w.now);
  c->iss = c->snd_una = numbers.iss;
  c->snd_nxt = c->iss + 1;
  c->ts_offset = numbers.ts_offset;
  if (!set_controller(t, *c, *controller(options.congestion))) {
    w.sessions->flow_del(w, ends, kProtoTcp);
    t.free_connection(*c);
    return Status::kNoMemory;
  }
  apply_socket_options(t, *c, options);
  if (options.user_mss != 0) {
    c->peer_mss = std::max(options.user_mss, kMinMss);
    c->adv_mss = std::min(c->adv_mss, c->peer_mss);
  }
  const uint32_t rx_size = w.sessions->rx_size(w, session);
  c->rcv_wscale = t.config.window_scaling ? wscale_for(rx_size) : 0;
  c->rcv_adv = c->rcv_nxt + std::min(rx_size, 0xffffu);
  c->state = State::kSynSent;
  c->rtt_sent = w.now;
  c->progress_at = Stamp::at(w.now);
  send_syn(t, *c);
  arm_rto(t, *c);
  *out = c->id;
  return Status::kOk;
}

Status listen(Worker& w, SessionId session, const Endpoints&, const SocketOptionsView& options,
              ConnId* out) noexcept {
  Listener* l = tcp_worker(w).listeners.alloc();
  if (!l) return Status::kNoMemory;
  l->session = session;
  l->options = options;
  if (options.congestion) std::strncpy(l->cc_name, options.congestion, sizeof l->cc_name - 1);
  l->options.congestion = l->cc_name;
  *out = l->id;
  return Status::kOk;
}

void unlisten(Worker& w, ConnId id) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Listener* l = t.listeners.find(id);
  if (!l) return;
  reset_half_open(t, *l);
  t.listeners.free(*l);
}

// --- Sending.
// Nagle's algorithm (RFC 9293 section 3.7.4) in Minshall's form: a small segment waits only for an
// earlier small one, so that a large write's tail does not wait for its own head.
bool may_send_small(TcpWorker& t, Connection& c) noexcept {
  if (c.has(kShutdownWanted) || c.has(kSendAnyway)) return true;
  if (c.has(kCork | kMore)) {
    if (!c.cork_until.is_set()) c.cork_until = Deadline::at(t.w.now + kCorkCeiling);
    const TimeNs left = c.cork_until.time(t.w.now) - t.w.now;
    if (left <= 0 || left > kCorkCeiling + kTimerTick) return true;  // over, or over for days
    wake_sender_at(t, c, c.cork_until);
    return false;
  }
  return c.has(kNodelay) || c.snd_sml <= c.snd_una;
}

// RFC 9293 section 3.8.3 and RFC 5681 section 4.1: an idle connection's window says nothing about
// the path any more.
void restart_after_idle(TcpWorker& t, Connection& c) noexcept {
  const TimeNs idle = c.last_sent.since(t.w.now);
  if (c.flight() != 0 || idle <= c.rtt.rto()) return;
  if (c.cc_ops->on_idle)
    c.cc_ops->on_idle(*c.cc, idle);
  else
    c.cc->cwnd = std::min(c.cc->cwnd, c.cc->initial_cwnd);
  c.last_sent = Stamp::at(t.w.now);
}

// Cuts the budget to what is worth sending: whole segments, and a last small one when Nagle and
// the silly-window rules of RFC 9293 section 3.8.6.2.1 let it go.
uint32_t worth_sending(TcpWorker& t, Connection& c, uint32_t budget, uint32_t unsent,
                       uint32_t usable) noexcept {
  const uint32_t mss = c.cc->mss;
  const uint32_t whole = budget / mss * mss;
  if (budget == whole) return whole;
  if (budget == unsent) return may_send_small(t, c) ? budget : whole;
  if (whole != 0) return whole;
  if (budget < usable) return c.flight() == 0 ? budget : 0;  // cwnd has no room for a segment
  return c.has(kSendAnyway) || usable >= c.max_snd_wnd / 2 ? budget : 0;
}

SendWindow send_window(Worker& w, ConnId id, uint32_t queued) noexcept {
  TcpWorker& t = tcp_worker(w);
  t.next_senders.will_send([&](ConnId next) { t.connections.prefetch(next); });
  Connection* found = t.connections.find(id);
  if (!found || !found->can_send() || found->has(kFinSent)) return {};
  TcpWorker::Scope scope(t);
  Connection& c = *found;
  refresh_route(t, c);
  const uint32_t in_flight = c.data_in_flight();
  if (queued <= in_flight) return {};
  const uint32_t unsent = queued - in_flight;
  restart_after_idle(t, c);

  const uint32_t usable = c.snd_wnd > c.flight() ? c.snd_wnd - c.flight() : 0;
  const uint32_t room = cwnd_room(c);
  uint32_t budget = std::min({unsent, usable, room});
  if (room <= unsent && room <= usable) {
    c.set(kCwndLimited);
    c.cwnd_limited_at = c.snd_nxt + budget;
  }
  if (c.cc->pacing_rate != 0 && t.config.pacing && budget != 0) {
    if (w.now < c.pace_at) {
      wake_sender_at(t, c, Deadline::at(c.pace_at));
      return {};
    }
    const uint64_t burst = std::max<uint64_t>(c.cc->pacing_rate / 1000, 2 * c.cc->mss);
    budget = static_cast<uint32_t>(std::min<uint64_t>(budget, burst));
    if (budget < unsent) budget = std::max(budget / c.cc->mss, 1u) * c.cc->mss;
    budget = std::min({budget, unsent, usable});
  }
  budget = worth_sending(t, c, budget, unsent, usable);
  if (budget == 0) {
    if (c.flight() == 0 && usable < std::min(unsent, c.cc->mss)) arm_persist_if_off(t, c);
    return {};
  }
  return {.budget = budget, .segment = chain_limit(t, c), .offset = in_flight};
}

void tx_due(Worker& w, ConnId id, uint32_t due) noexcept {
  Connection* c = tcp_worker(w).connections.find(id);
  if (!c) return;
  if (due <= c->data_in_flight())
    c->set(kMore);
  else
    c->unset(kMore);
}

void push_headers(Worker& w, ConnId id, std::span<Buffer* const> chains) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  if (!c || !c->can_send() || c->has(kFinSent)) return w.free(chains);
  send_data(t, *c, chains);
}

// --- Receiving.
void rx_drained(Worker& w, ConnId id) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  if (!c || !c->is_alive()) return;
  on_drained(t, *c);
}

// --- Closing.
void shutdown(Worker& w, ConnId id) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  if (!c || !c->is_alive()) return;
  c->set(kShutdownWanted);
  send_fin_if_due(t, *c);
  // A small tail that Nagle held back goes with the FIN.
  if (c->can_send() && !c->has(kFinSent) && c->session != kNoSession)
    w.sessions->tx_schedule(w, c->session);
}

void abort(Worker& w, ConnId id) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  if (Connection* c = t.connections.find(id); c && c->is_alive()) abort_connection(t, *c);
}

void close(Worker& w, ConnId id, bool unread) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  if (!c || !c->is_alive()) return;
  if (c->state == State::kSynSent) return end_connection(t, *c);
  // Unread data: RFC 2525 section 2.17. SYN-RECEIVED is a simultaneous open's that nobody waits
  // for.
  if (unread || c->state == State::kSynReceived) {
    send_rst(t, *c);
    return end_connection(t, *c);
  }
  c->set(kAppClosed);
  c->progress_at = Stamp::at(w.now);
  shutdown(w, id);
  if (c->state == State::kFinWait2) release_session(t, *c);
}

// --- Properties.
// Keeps cwnd and ssthresh, as the contract of CcOps::init says.
Status switch_controller(TcpWorker& t, Connection& c, const CcOps& cc) noexcept {
  if (c.cc_ops == &cc) return Status::kOk;
  if (!set_controller(t, c, cc)) return Status::kNoMemory;
  c.cc->pacing_rate = 0;  // the old one's; the new one may not pace at all
  if (cc.init && c.cc->cwnd != 0) cc.init(*c.cc, t.w.now);
  return Status::kOk;
}

Status set_congestion(Worker& w, ConnId id, const char* name) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection* c = t.connections.find(id);
  if (!c || !c->is_alive()) return Status::kNotConnected;
  const CcOps* cc = *name ? shared().host->find_congestion_control(name) : nullptr;
  if (!cc) return Status::kNotFound;
  return switch_controller(t, *c, *cc);
}

Status set_options(Worker& w, ConnId id, const SocketOptionsView& options) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  if (Listener* l = t.listeners.find(id)) {
    const IfIndex interface = l->options.interface;  // as it was bound
    l->options = options;
    l->options.interface = interface;
    if (options.congestion) {
      std::memset(l->cc_name, 0, sizeof l->cc_name);
      std::strncpy(l->cc_name, options.congestion, sizeof l->cc_name - 1);
    }
    l->options.congestion = l->cc_name;
    return Status::kOk;
  }
  Connection* c = t.connections.find(id);
  if (!c || !c->is_alive()) return Status::kNotConnected;
  const bool held = c->has(kCork) || !c->has(kNodelay);
  apply_socket_options(t, *c, options);
  if (options.congestion && *options.congestion)
    if (const Status s = switch_controller(t, *c, *controller(options.congestion));
        s != Status::kOk)
      return s;
  if (c->state == State::kSynSent || c->state == State::kSynReceived) return Status::kOk;
  arm_wait_timer(t, *c);
  if (held && c->session != kNoSession) w.sessions->tx_schedule(w, c->session);
  return Status::kOk;
}

void info(Worker& w, ConnId id, ConnectionInfo& out) noexcept {
  TcpWorker& t = tcp_worker(w);
  out = {};
  if (const Connection* c = t.connections.find(id))
    connection_info(t, *c, out);
  else
    out.state = static_cast<uint8_t>(t.listeners.find(id) ? State::kListen : State::kClosed);
}

void describe(Worker& w, ConnId id, std::string& out) noexcept {
  TcpWorker& t = tcp_worker(w);
  if (const Connection* c = t.connections.find(id)) return describe_connection(t, *c, out);
  if (const Listener* l = t.listeners.find(id))
    out += "  LISTEN half-open " + std::to_string(l->n_half_open) + "\n";
}
}  // namespace

const TransportOps kTransportOps{.name = "tcp",
                                 .proto = 0,  // VPPCOM_PROTO_TCP
                                 .ip_protocol = kProtoTcp,
                                 .tx_kind = TxKind::kPeek,
                                 .connect = connect,
                                 .listen = listen,
                                 .unlisten = unlisten,
                                 .send_window = send_window,
                                 .push_headers = push_headers,
                                 .rx_drained = rx_drained,
                                 .shutdown = shutdown,
                                 .close = close,
                                 .abort = abort,
                                 .set_options = set_options,
                                 .info = info,
                                 .describe = describe,
                                 .tx_due = tx_due,
                                 .set_congestion = set_congestion,
                                 .session_of = session_of,
                                 .freeze = freeze,
                                 .adopt = adopt,
                                 .thaw = thaw};

}  // namespace loom::tcp
