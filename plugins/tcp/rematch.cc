// See rematch.h.
#include "rematch.h"

#include "half_open.h"
#include "listen.h"
#include "reset.h"
#include "time_wait.h"

namespace loom::tcp {

FlowMatch lookup(TcpWorker& t, const Endpoints& ends) noexcept {
  FlowMatch m;
  if (ends.local.is_ip4) {
    const FlowKey4 key{.local = ends.local.ip4(),
                       .remote = ends.remote.ip4(),
                       .local_port = ends.local_port,
                       .remote_port = ends.remote_port,
                       .protocol = kProtoTcp,
                       .fib_index = static_cast<uint16_t>(ends.fib_index)};
    t.w.sessions->lookup4(t.w, {&key, 1}, &m);
  } else {
    const FlowKey6 key{.local = ends.local.ip6(),
                       .remote = ends.remote.ip6(),
                       .local_port = ends.local_port,
                       .remote_port = ends.remote_port,
                       .protocol = kProtoTcp,
                       .fib_index = static_cast<uint16_t>(ends.fib_index)};
    t.w.sessions->lookup6(t.w, {&key, 1}, &m);
  }
  return m;
}

RxCounter connection_arrives(TcpWorker& t, Connection& c, Buffer& b, const Segment& s,
                             const Options& o) noexcept {
  switch (c.state) {
    case State::kSynSent:
      return syn_sent_arrives(t, c, b, s, o);
    case State::kSynReceived:
      return syn_received_arrives(t, c, b, s, o);
    default:
      return segment_arrives(t, c, b, s, o);
  }
}

namespace {
RxCounter hand_off(TcpWorker& t, Buffer& b, uint32_t worker, bool is_ip4) noexcept {
  b.flags |= kBufferL4ChecksumOk;
  Buffer* const packet = &b;
  t.w.hand_off(worker, is_ip4 ? shared().input4 : shared().input6, {&packet, 1});
  return kRxHandedOff;
}
}  // namespace

RxCounter rematch(TcpWorker& t, Buffer& b, const Segment& s, const Options& o) noexcept {
  Ends ends;
  if (!endpoints_of(b, ends)) return kRxStale;
  const FlowMatch m = lookup(t, ends);
  b.session = m.conn;
  if (m.kind == FlowKind::kDenied) return kRxStale;  // as where the lookup says so at once
  if (m.kind != FlowKind::kNone) {
    if (m.worker != t.w.index) return hand_off(t, b, m.worker, ends.local.is_ip4);
    if (m.kind == FlowKind::kListener) {
      const bool is_opening = s.has(kSyn) && !s.has(kAck) && !s.has(kRst);
      if (is_opening)
        if (const auto verdict = listener_arrives(t, ends, link_of(b), s, o, nullptr))
          return verdict == SynVerdict::kAnswered ? kRxHandshake : kRxSynDropped;
    } else if (HalfOpen* h = t.half_open.find(m.conn)) {
      if (hears(h->ends.link, link_of(b))) return half_open_arrives(t, *h, b, s, o);
    } else if (TimeWait* tw = t.time_waits.find(m.conn)) {
      if (hears(tw->ends.link, link_of(b))) return time_wait_arrives(t, *tw, link_of(b), s, o);
    } else if (Connection* c = t.connections.find(m.conn); c && c->is_alive()) {
      if (c->hears_link(b)) return connection_arrives(t, *c, b, s, o);
    } else if (c && c->state == State::kFrozen) {
      return hand_off(t, b, c->frozen_for, ends.local.is_ip4);
    }
  }
  answer_by_reset(t, ends, s);
  return kRxStale;
}

}  // namespace loom::tcp
