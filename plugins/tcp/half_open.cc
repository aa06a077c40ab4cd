// Passive opens; see half_open.h.
#include "half_open.h"

#include <hostloom/net.h>

#include <algorithm>

#include "controller.h"
#include "isn.h"
#include "lifecycle.h"
#include "output.h"
#include "timers.h"
#include "window.h"

namespace loom::tcp {
namespace {
uint16_t offered_window(const TcpWorker& t) noexcept {  // SYN-ACK's, never scaled
  return static_cast<uint16_t>(std::min(t.config.max_rx_fifo, 0xffffu));
}

void send_syn_ack(TcpWorker& t, const HalfOpen& h) noexcept {
  Options o;
  o.present = kOptMss;
  o.mss = h.adv_mss;
  if (h.use_sack) o.present |= kOptSackPermitted;
  if (h.use_timestamps) {
    o.present |= kOptTimestamps;
    o.tsval = timestamp_now(t, h.ts_offset);
    o.tsecr = h.ts_recent;
  }
  if (h.use_wscale) {
    o.present |= kOptWscale;
    o.wscale = h.rcv_wscale;
  }
  const SocketOptionsView& listens = t.listeners.find(h.listener)->options;
  const bool is_ip4 = h.ends.local.is_ip4;
  // When routes have changed since, ip-lookup decides, or the link.
  const bool is_route_good = h.route_generation == *t.w.net->generation;
  transmit_empty(t, h.ends,
                 {.seq = h.iss,
                  .ack = h.irs + 1,
                  .window = offered_window(t),
                  .flags = kSyn | kAck,
                  .tos = listens.tos_of(is_ip4),
                  .hops = is_ip4 ? listens.ip4_ttl : listens.ip6_hop_limit,
                  .kind = SegmentKind::kSynAck,
                  .adjacency = is_route_good ? h.adjacency : kNoIndex,
                  .tx_if = is_route_good ? h.tx_if : kNoIndex},
                 o);
}

// Tells the peer what is expected; limited, for two half-open ends may face each other.
void send_half_open_ack(TcpWorker& t, HalfOpen& h) noexcept {
  if (!may_challenge(t, h.challenge_at)) return;
  Options o;
  if (h.use_timestamps) {
    o.present = kOptTimestamps;
    o.tsval = timestamp_now(t, h.ts_offset);
    o.tsecr = h.ts_recent;
  }
  const auto window = static_cast<uint16_t>(offered_window(t) >> h.rcv_wscale);
  transmit_empty(t, h.ends, {.seq = h.iss + 1, .ack = h.irs + 1, .window = window, .flags = kAck},
                 o);
}

void forget(TcpWorker& t, HalfOpen& h) noexcept {
  t.w.sessions->flow_del(t.w, h.ends, kProtoTcp);
  free_half_open(t, h);
}

void syn_ack_timeout(Worker& w, Timer& timer) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  HalfOpen& h = LOOM_TIMER_OWNER(HalfOpen, timer, timer);
  if (++h.attempts > t.config.max_syn_retransmits) {
    ++t.stats.half_open_expired;
    return forget(t, h);
  }
  send_syn_ack(t, h);
  // 2^6 s is beyond kMaxRto; a shift by all the attempts that may be configured would overflow.
  w.timer_start_in(h.timer, std::min(kInitialRto << std::min<int>(h.attempts, 6), kMaxRto));
}

// The handshake ended: the half-open entry becomes a connection with a session.
Connection* promote(TcpWorker& t, HalfOpen& h, const Segment& s, RxCounter& why) noexcept {
  const Listener& l = *t.listeners.find(h.listener);
  why = kRxAcceptQueueFull;
  if (!t.w.sessions->accept_allowed(t.w, l.session, 0)) return nullptr;
  Connection* c = t.connections.alloc();
  why = kRxNoMemory;
  if (!c) return nullptr;
  init_timers(*c);
  c->set_ends(h.ends);
  c->iss = h.iss;
  c->snd_una = c->snd_nxt = h.iss + 1;
  c->irs = h.irs;
  c->rcv_nxt = c->rcv_las = h.irs + 1;
  c->rcv_wscale = h.rcv_wscale;
  c->snd_wscale = h.snd_wscale;
  c->rcv_adv = c->rcv_nxt + offered_window(t);
  c->snd_wnd = c->max_snd_wnd = h.peer_wnd;
  c->snd_wl1 = h.irs;
  c->snd_wl2 = s.ack - 1;  // older than any acknowledgement of the handshake's
  c->peer_mss = h.peer_mss;
  c->adv_mss = h.adv_mss;
  c->pmtu = h.pmtu;
  c->route_generation = h.route_generation;
  c->adjacency = h.adjacency;
  c->tx_if = h.tx_if;
  c->ts_recent = h.ts_recent;
  c->ts_recent_at = static_cast<uint32_t>(t.w.now / kSecond);
  c->ts_offset = h.ts_offset;
  if (h.use_timestamps) c->set(kUseTimestamps);
  if (h.use_sack) c->set(kUseSack);
  if (h.use_wscale) c->set(kUseWscale);
  if (h.attempts != 0) c->set(kSynRetransmitted);
  if (!set_controller(t, *c, *controller(l.cc_name))) {
    t.free_connection(*c);
    return nullptr;
  }
  apply_socket_options(t, *c, l.options);
  if (h.attempts == 0) c->rtt.add_sample(t.w.now - h.started, t.config.min_rto);
  start_established(t, *c);
  if (t.w.sessions->flow_add(t.w, c->ends, kProtoTcp, FlowKind::kEstablished, c->id) !=
      Status::kOk) {
    stop_timers(t, *c);
    t.free_connection(*c);
    return nullptr;
  }
  // An application that hears of the connection may close its listener from within this call.
  const ConnId listener = l.id;
  unlink_half_open(t, h);
  const Status accepted =
      t.w.sessions->accepted(t.w, l.session, shared().transport, c->id, c->ends, &c->session);
  if (accepted == Status::kOk) {
    ++t.stats.opened_passive;
    // The SYN-ACK's window was offered before there was a fifo. What that cannot take is taken back
    // (RFC 9293 section 3.8.6): a window that is a lie makes the peer retransmit into a full fifo.
    if (c->session != kNoSession)
      c->rcv_adv = min(c->rcv_adv, c->rcv_nxt + t.w.sessions->rx_space(t.w, c->session));
    free_half_open(t, h);
    return c;
  }
  stop_timers(t, *c);
  c->session = kNoSession;
  Listener* again = t.listeners.find(listener);
  if (accepted == Status::kAgain && again) {  // stays half-open; the peer or our timer tries again
    t.free_connection(*c);
    t.w.sessions->flow_del(t.w, h.ends, kProtoTcp);
    if (t.w.sessions->flow_add(t.w, h.ends, kProtoTcp, FlowKind::kHalfOpen, h.id) == Status::kOk) {
      link_half_open(t, *again, h);
      why = kRxAcceptQueueFull;
      return nullptr;
    }
    free_half_open(t, h);
    return nullptr;
  }
  free_half_open(t, h);
  abort_connection(t, *c);
  return nullptr;
}
}  // namespace

SynVerdict answer_syn(TcpWorker& t, Listener& l, const Ends& from, const Segment& syn,
                      const Options& o, const Seq* iss_above) noexcept {
  if (!t.w.sessions->accept_allowed(t.w, l.session, l.n_half_open)) return SynVerdict::kBacklogFull;
  const uint32_t generation = *t.w.net->generation;
  Ends ends = from;
  if (l.options.interface != kNoIndex)
    ends.link = l.options.interface;
  else if (!is_link_local(ends.local) && !is_link_local(ends.remote))
    ends.link = kNoIndex;  // that of a TIME-WAIT was its socket's
  RouteInfo route;
  if (find_route(t, ends, &route) != Status::kOk) return SynVerdict::kNoRoute;
  HalfOpen* h = t.half_open.alloc();
  if (!h) return SynVerdict::kNoMemory;
  const InitialNumbers numbers = initial_numbers(shared().key, ends, t.w.now);
  const uint16_t default_mss = ends.local.is_ip4 ? 536 : 1220;
  const uint32_t mtu = t.config.mtu ? std::min(t.config.mtu, route.mtu) : route.mtu;
  h->ends = ends;
  h->irs = syn.seq;
  h->iss = iss_above && numbers.iss <= *iss_above ? *iss_above + 65'536 : numbers.iss;
  h->ts_offset = numbers.ts_offset;
  h->peer_wnd = syn.window;
  h->peer_mss = o.has(kOptMss) && o.mss != 0 ? std::max(o.mss, kMinMss) : default_mss;
  h->adv_mss = mss_of_mtu(mtu, ends.local.is_ip4);
  h->pmtu = static_cast<uint16_t>(std::min(mtu, 65535u));
  h->route_generation = generation;
  h->adjacency = route.is_local ? kNoIndex : route.adjacency;
  h->tx_if = route.is_local ? kNoIndex : route.tx_if;
  if (l.options.user_mss != 0) {
    const uint16_t most = std::max(l.options.user_mss, kMinMss);
    h->adv_mss = std::min(h->adv_mss, most);
    h->peer_mss = std::min(h->peer_mss, most);
  }
  h->use_sack = t.config.sack && o.has(kOptSackPermitted);
  h->use_timestamps = t.config.timestamps && o.has(kOptTimestamps);
  h->ts_recent = o.tsval;
  h->use_wscale = t.config.window_scaling && o.has(kOptWscale);
  if (h->use_wscale) {
    h->snd_wscale = o.wscale;
    h->rcv_wscale = wscale_for(t.config.max_rx_fifo);
  }
  h->started = t.w.now;
  h->timer.fired = syn_ack_timeout;
  const Status added = t.w.sessions->flow_add(t.w, ends, kProtoTcp, FlowKind::kHalfOpen, h->id);
  if (added != Status::kOk) {
    free_half_open(t, *h);
    return added == Status::kExists ? SynVerdict::kTaken : SynVerdict::kNoMemory;
  }
  link_half_open(t, l, *h);
  t.w.timer_start_in(h->timer, kInitialRto);
  send_syn_ack(t, *h);
  return SynVerdict::kAnswered;
}

RxCounter half_open_arrives(TcpWorker& t, HalfOpen& h, Buffer& b, const Segment& s,
                            const Options& o) noexcept {
  if (s.has(kSyn) && !s.has(kRst)) {
    // The peer's SYN again: it has not seen our answer. Another one is a challenge's business.
    if (s.seq == h.irs && !s.has(kAck)) {
      send_syn_ack(t, h);
      return kRxHandshake;
    }
    send_half_open_ack(t, h);
    return kRxChallengeSyn;
  }
  const Seq rcv_nxt = h.irs + 1;
  if (h.use_timestamps && !s.has(kRst)) {
    if (!o.has(kOptTimestamps)) return kRxNoTimestamp;
    if (static_cast<int32_t>(o.tsval - h.ts_recent) < 0) {
      send_half_open_ack(t, h);
      return kRxPaws;
    }
  }
  if (!s.seq.in_window(rcv_nxt, offered_window(t))) {
    if (s.has(kRst)) return kRxBlindRst;
    send_half_open_ack(t, h);
    return kRxOutOfWindow;
  }
  if (s.has(kRst)) {
    if (s.seq != rcv_nxt) {
      send_half_open_ack(t, h);
      return kRxChallengeRst;
    }
    forget(t, h);
    return kRxReset;
  }
  if (!s.has(kAck)) return kRxNoAck;
  if (s.ack != h.iss + 1) {
    transmit_empty(t, h.ends, {.seq = s.ack, .flags = kRst, .kind = SegmentKind::kRst}, {});
    return kRxBadAck;
  }
  RxCounter why = kRxGoOn;
  Connection* c = promote(t, h, s, why);
  if (!c) return why;
  if (c->is_alive()) segment_arrives(t, *c, b, s, o);
  return kRxHandshake;
}

void reset_half_open(TcpWorker& t, Listener& l) noexcept {
  while (HalfOpen* h = t.half_open.find(l.half_open)) {
    transmit_empty(
        t, h->ends,
        {.seq = h->iss + 1, .ack = h->irs + 1, .flags = kRst | kAck, .kind = SegmentKind::kRst},
        {});
    forget(t, *h);
  }
}

}  // namespace loom::tcp
