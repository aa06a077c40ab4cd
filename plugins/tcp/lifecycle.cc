// Beginnings and endings; see lifecycle.h.
#include "lifecycle.h"

#include <hostloom/wire.h>

#include <algorithm>
#include <cstring>

#include "output.h"
#include "timers.h"
#include "window.h"

namespace loom::tcp {

const char* state_name(State s) noexcept {
  constexpr const char* kNames[] = {
      "?",      "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT",
      "CLOSED", "CLOSE-WAIT",  "LAST-ACK", "LISTEN",       "CLOSING",    "FROZEN"};
  return kNames[static_cast<uint8_t>(s)];
}

const CcOps* controller(const char* name) noexcept {
  // By name for every connection: a controller may be replaced while the daemon runs.
  Host& host = *shared().host;
  const CcOps* ops = host.find_congestion_control(name ? name : "");
  if (!ops) ops = host.find_congestion_control("");
  return ops ? ops : shared().default_cc;
}

void apply_socket_options(TcpWorker& t, Connection& c, const SocketOptionsView& o) noexcept {
  const auto ms = [](TimeNs wanted, TimeNs otherwise) {
    const TimeNs v = (wanted > 0 ? wanted : otherwise) / kMillisecond;
    return static_cast<uint32_t>(std::min<TimeNs>(v, 0x7fffffff));
  };
  c.unset(kNodelay | kCork | kKeepalive);
  if (o.nodelay) c.set(kNodelay);
  if (o.cork) c.set(kCork);
  if (o.keepalive) c.set(kKeepalive);
  c.tos = o.tos_of(c.ends.local.is_ip4);
  c.hops = c.ends.local.is_ip4 ? o.ip4_ttl : o.ip6_hop_limit;
  c.keepidle_ms = ms(o.keepidle, t.config.keepidle);
  c.keepintvl_ms = std::min(ms(o.keepintvl, t.config.keepintvl),
                            static_cast<uint32_t>(Deadline::kFarthest / kMillisecond));
  c.keepcnt = static_cast<uint8_t>(std::min(o.keepcnt ? o.keepcnt : t.config.keepcnt, 255u));
  c.user_timeout_ms = ms(o.user_timeout, 0);
}

void negotiate(TcpWorker& t, Connection& c, const Options& peer) noexcept {
  const uint16_t default_mss = c.is_ip4() ? 536 : 1220;
  const uint16_t offered = peer.has(kOptMss) && peer.mss != 0 ? peer.mss : default_mss;
  c.peer_mss = std::max<uint16_t>(c.peer_mss ? std::min(c.peer_mss, offered) : offered, kMinMss);
  if (t.config.timestamps && peer.has(kOptTimestamps)) {
    c.set(kUseTimestamps);
    c.ts_recent = peer.tsval;
    c.ts_recent_at = static_cast<uint32_t>(t.w.now / kSecond);
  }
  if (t.config.sack && peer.has(kOptSackPermitted)) c.set(kUseSack);
  if (t.config.window_scaling && peer.has(kOptWscale)) {
    c.set(kUseWscale);
    c.snd_wscale = peer.wscale;
  } else {
    c.rcv_wscale = 0;
  }
}

void start_established(TcpWorker& t, Connection& c) noexcept {
  c.state = State::kEstablished;
  c.backoff = c.retries = 0;
  refresh_route(t, c);
  if (c.pmtu != 0) set_mss(c);  // now it is known what the peer takes, and whether with timestamps
  if (c.cc->mss == 0) c.cc->mss = 536;  // the route went away meanwhile
  // IW of RFC 6928 section 2; one segment after a lost SYN (RFC 5681 section 3.1).
  const uint32_t mss = c.cc->mss;
  c.cc->initial_cwnd =
      std::min(t.config.initial_cwnd * mss, std::max(2 * mss, t.config.initial_cwnd * 1460u));
  c.cc->cwnd = c.has(kSynRetransmitted) ? mss : c.cc->initial_cwnd;
  c.cc->ssthresh = kNoSsthresh;
  if (c.has(kSynRetransmitted) && c.rtt.srtt() == 0) c.rtt.set_rto(kRtoAfterSynLoss);
  if (c.cc_ops->init) c.cc_ops->init(*c.cc, t.w.now);
  c.recover = c.iss;  // nothing has been recovered
  c.high_rxt = c.snd_sml = c.snd_una;
  c.cwnd_limited_at = c.snd_una;
  c.quick_acks = kQuickAcks;
  c.last_received = c.last_sent = c.progress_at = Stamp::at(t.w.now);
  disarm_send_timer(c);
  arm_wait_timer(t, c);
}

void active_open_done(TcpWorker& t, Connection& c) noexcept {
  start_established(t, c);
  ++t.stats.opened_active;
  // Cannot collide: flow_open reserved the 5-tuple.
  if (t.w.sessions->flow_add(t.w, c.ends, kProtoTcp, FlowKind::kEstablished, c.id) != Status::kOk)
    return drop_connection(t, c, ResetReason::kNoMemory);
  t.w.sessions->connected(t.w, c.session, Status::kOk, c.ends);
  send_fin_if_due(t, c);  // shut down meanwhile (RFC 9293 section 3.10.4)
}

namespace {
void bury(TcpWorker& t, Connection& c) noexcept {
  stop_timers(t, c);
  c.state = State::kClosed;
  c.session = kNoSession;
  t.bury(c);
}

Status status_of(ResetReason reason) noexcept {
  switch (reason) {
    case ResetReason::kPeerReset:
      return Status::kReset;
    case ResetReason::kTimedOut:
      return Status::kTimedOut;
    case ResetReason::kRefused:
      return Status::kRefused;
    case ResetReason::kUnreachable:
      return Status::kUnreachable;
    case ResetReason::kAborted:
      return Status::kClosed;
    case ResetReason::kNoMemory:
      return Status::kNoMemory;
    case ResetReason::kMessageSize:  // of datagrams
      break;
  }
  return Status::kReset;
}
}  // namespace

void end_connection(TcpWorker& t, Connection& c) noexcept {
  const SessionId session = c.session;
  t.w.sessions->flow_del(t.w, c.ends, kProtoTcp);
  bury(t, c);
  if (session != kNoSession) t.w.sessions->closed(t.w, session);
}

void drop_connection(TcpWorker& t, Connection& c, ResetReason reason) noexcept {
  const SessionId session = c.session;
  const bool opening = c.state == State::kSynSent || c.state == State::kSynReceived;
  const Endpoints ends = c.ends;
  t.w.sessions->flow_del(t.w, c.ends, kProtoTcp);
  bury(t, c);
  if (session == kNoSession) return;
  if (opening)
    t.w.sessions->connected(t.w, session, status_of(reason), ends);
  else
    t.w.sessions->reset(t.w, session, reason);
}

void abort_connection(TcpWorker& t, Connection& c) noexcept {
  if (c.state != State::kSynSent) send_rst(t, c);
  t.w.sessions->flow_del(t.w, c.ends, kProtoTcp);
  bury(t, c);
}

void release_session(TcpWorker& t, Connection& c) noexcept {
  if (c.session == kNoSession || !c.has(kAppClosed)) return;
  const SessionId session = c.session;
  c.session = kNoSession;
  c.unset(kHasOoo);
  arm_wait_timer(t, c);
  t.w.sessions->closed(t.w, session);
}

void enter_time_wait(TcpWorker& t, Connection& c) noexcept {
  send_ack(t, c);  // of the FIN, while the connection still is one
  const SessionId session = c.session;
  TimeWait* tw = t.config.timewait_time > 0 ? t.time_waits.alloc() : nullptr;
  if (tw) {
    tw->ends = c.ends;
    tw->snd_nxt = c.snd_nxt;
    tw->rcv_nxt = c.rcv_nxt;
    tw->window = static_cast<uint16_t>(std::min(c.rcv_wnd() >> c.rcv_wscale, 0xffffu));
    tw->ts_recent = c.ts_recent;
    tw->ts_offset = c.ts_offset;
    tw->use_timestamps = c.has(kUseTimestamps);
    tw->timer.fired = [](Worker& w, Timer& timer) noexcept {
      free_time_wait(tcp_worker(w), LOOM_TIMER_OWNER(TimeWait, timer, timer));
    };
    // In one step: another worker, which may get a segment meanwhile, always finds the flow.
    t.w.sessions->flow_move(t.w, tw->ends, kProtoTcp, tw->id);
    t.w.timer_start_in(tw->timer, t.config.timewait_time);
  } else {
    t.w.sessions->flow_del(t.w, c.ends, kProtoTcp);
    ++t.stats.time_wait_full;
  }
  bury(t, c);
  if (session != kNoSession) t.w.sessions->closed(t.w, session);
}

void link_half_open(TcpWorker& t, Listener& l, HalfOpen& h) noexcept {
  h.listener = l.id;
  h.next = l.half_open;
  h.prev = kNoConn;
  if (HalfOpen* head = t.half_open.find(l.half_open)) head->prev = h.id;
  l.half_open = h.id;
  ++l.n_half_open;
}

void unlink_half_open(TcpWorker& t, HalfOpen& h) noexcept {
  Listener* l = t.listeners.find(h.listener);
  if (!l) return;
  if (HalfOpen* next = t.half_open.find(h.next)) next->prev = h.prev;
  if (HalfOpen* prev = t.half_open.find(h.prev))
    prev->next = h.next;
  else
    l->half_open = h.next;
  --l->n_half_open;
  h.listener = kNoConn;
}

void free_half_open(TcpWorker& t, HalfOpen& h) noexcept {
  t.w.timer_stop(h.timer);
  unlink_half_open(t, h);
  t.half_open.free(h);
}

void free_time_wait(TcpWorker& t, TimeWait& tw) noexcept {
  t.w.timer_stop(tw.timer);
  t.w.sessions->flow_del(t.w, tw.ends, kProtoTcp);
  t.time_waits.free(tw);
}

}  // namespace loom::tcp
