// Nodes "tcp4-rcv-process" and "tcp6-rcv-process": every state but LISTEN, SYN-SENT and
// ESTABLISHED. RFC 9293 section 3.10.7.4.
//   in    segments of half-open connections, closing connections and TIME-WAITs, from tcpN-input
//   out   none | drop
#include "half_open.h"
#include "lifecycle.h"
#include "output.h"
#include "rematch.h"
#include "time_wait.h"

namespace loom::tcp {

// SYN-RECEIVED of a simultaneous open: our SYN is out, the peer's has arrived.
RxCounter syn_received_arrives(TcpWorker& t, Connection& c, Buffer& b, Segment s,
                               const Options& o) noexcept {
  // The peer's SYN-ACK repeats its SYN, which is below the window; what counts is its ACK.
  if (s.has(kSyn) && s.has(kAck) && s.seq == c.irs && s.ack == c.snd_nxt) s.take_syn();
  if (const auto r = check_sequence(t, c, s, o); r != kRxGoOn) return r;
  if (const auto r = check_reset(t, c, s); r != kRxGoOn) return r;
  if (const auto r = check_syn(t, c, s); r != kRxGoOn) return r;
  if (!s.has(kAck)) return kRxNoAck;
  if (s.ack != c.snd_nxt) {
    transmit_empty(t, c.ends, {.seq = s.ack, .flags = kRst, .kind = SegmentKind::kRst}, {});
    return kRxBadAck;
  }
  c.snd_una = s.ack;
  c.rtt_sent = 0;
  active_open_done(t, c);
  if (c.is_alive()) segment_arrives(t, c, b, s, o);
  return kRxHandshake;
}

namespace {
RxCounter arrive(TcpWorker& t, Buffer& b) noexcept {
  const Segment s = segment_of(b);
  Options o;
  if (const auto f = options_of(t, b, s, o); f != OptionFault::kNone) return counter_of(f);
  switch (kind_of(b.session)) {
    case IdKind::kHalfOpen:
      if (HalfOpen* h = t.half_open.find(b.session); h && hears(h->ends.link, link_of(b)))
        return half_open_arrives(t, *h, b, s, o);
      break;
    case IdKind::kTimeWait:
      if (TimeWait* tw = t.time_waits.find(b.session); tw && hears(tw->ends.link, link_of(b)))
        return time_wait_arrives(t, *tw, link_of(b), s, o);
      break;
    default:
      Connection* c = t.connections.find(b.session);
      if (c && c->is_alive()) return connection_arrives(t, *c, b, s, o);
  }
  return rematch(t, b, s, o);
}

void rcv_process(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  run_segments(w, rt, in, arrive);
}
}  // namespace

const NodeInfo kTcp4RcvProcess{.name = "tcp4-rcv-process",
                               .run = rcv_process,
                               .counters = kRxCounters,
                               .next = {"drop"},
                               .trace_format = format_rx_trace};
const NodeInfo kTcp6RcvProcess{.name = "tcp6-rcv-process",
                               .run = rcv_process,
                               .counters = kRxCounters,
                               .next = {"drop"},
                               .trace_format = format_rx_trace};

}  // namespace loom::tcp
