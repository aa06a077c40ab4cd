// Nodes "tcp4-syn-sent" and "tcp6-syn-sent": the answer to our SYN. RFC 9293 section 3.10.7.3.
//   in    segments of connections in SYN-SENT, from tcpN-input
//   out   none | drop
#include <algorithm>

#include "lifecycle.h"
#include "output.h"
#include "rematch.h"
#include "timers.h"
#include "window.h"

namespace loom::tcp {
namespace {
void send_reset_to(TcpWorker& t, const Connection& c, Seq seq) noexcept {
  transmit_empty(t, c.ends, {.seq = seq, .flags = kRst, .kind = SegmentKind::kRst}, {});
}

// Fourth: SYN. What the peer wants is known now; SND.WND is not scaled yet (RFC 7323 section 2.2).
void take_syn(TcpWorker& t, Connection& c, const Segment& s, const Options& o) noexcept {
  const uint32_t offered = c.rcv_wnd();
  negotiate(t, c, o);
  c.irs = s.seq;
  c.rcv_nxt = c.rcv_las = s.seq + 1;
  c.rcv_adv = c.rcv_nxt + std::min(offered, 0xffffu);
  c.snd_wnd = c.max_snd_wnd = s.window;
  c.snd_wl1 = s.seq;
  c.snd_wl2 = s.ack;
  c.last_received = Stamp::at(t.w.now);
}

}  // namespace

RxCounter syn_sent_arrives(TcpWorker& t, Connection& c, Buffer& b, Segment s,
                           const Options& o) noexcept {
  // First: the acknowledgement must be of our SYN.
  if (s.has(kAck) && s.ack != c.snd_nxt) {
    if (!s.has(kRst)) send_reset_to(t, c, s.ack);
    return kRxBadAck;
  }
  // Second: RST ends the attempt only when it acknowledges our SYN.
  if (s.has(kRst)) {
    if (!s.has(kAck)) return kRxBlindRst;
    drop_connection(t, c, ResetReason::kRefused);
    return kRxReset;
  }
  if (!s.has(kSyn)) return kRxNoAck;
  take_syn(t, c, s, o);
  if (!s.has(kAck)) {  // simultaneous open: both SYNs crossed
    c.state = State::kSynReceived;
    send_syn(t, c);
    arm_rto(t, c);
    return kRxHandshake;
  }
  c.snd_una = s.ack;
  if (c.rtt_sent != 0) c.rtt.add_sample(t.w.now - c.rtt_sent, t.config.min_rto);
  c.rtt_sent = 0;
  t.want_ack(c);
  active_open_done(t, c);
  if (!c.is_alive()) return kRxHandshake;
  // Text and FIN that came with the SYN-ACK.
  s.take_syn();
  if (s.length() != 0) segment_arrives(t, c, b, s, o);
  return kRxHandshake;
}

namespace {
RxCounter arrive(TcpWorker& t, Buffer& b) noexcept {
  const Segment s = segment_of(b);
  Options o;
  if (const auto f = options_of(t, b, s, o); f != OptionFault::kNone) return counter_of(f);
  Connection* c = t.connections.find(b.session);
  // An earlier segment of the frame may have ended the attempt, or completed it.
  if (!c || !c->is_alive()) return rematch(t, b, s, o);
  return connection_arrives(t, *c, b, s, o);
}

void syn_sent(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  run_segments(w, rt, in, arrive);
}
}  // namespace

const NodeInfo kTcp4SynSent{.name = "tcp4-syn-sent",
                            .run = syn_sent,
                            .counters = kRxCounters,
                            .next = {"drop"},
                            .trace_format = format_rx_trace};
const NodeInfo kTcp6SynSent{.name = "tcp6-syn-sent",
                            .run = syn_sent,
                            .counters = kRxCounters,
                            .next = {"drop"},
                            .trace_format = format_rx_trace};

}  // namespace loom::tcp
