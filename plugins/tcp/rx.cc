// Counters and trace of the state nodes, and the walk through the eight steps.
#include "rx.h"

#include "lifecycle.h"
#include "timers.h"

namespace loom::tcp {

const CounterInfo kRxCounters[kRxCounterCount] = {
    {"data", Severity::kInfo, "segments whose text was added to the stream"},
    {"out-of-order", Severity::kInfo, "segments kept for when the gap before them is filled"},
    {"ack", Severity::kInfo, "acknowledgements and window updates without text"},
    {"fin", Severity::kInfo, "segments that ended the peer's stream"},
    {"handshake", Severity::kInfo, "segments that moved or repeated a handshake"},
    {"reset", Severity::kInfo, "resets that were accepted"},
    {"old-data", Severity::kInfo, "segments with nothing new: retransmissions and probes"},
    {"time-wait", Severity::kInfo, "segments that TIME-WAIT answered or ignored"},
    {"time-wait-reuse", Severity::kInfo, "SYNs that ended TIME-WAIT early (RFC 6191)"},
    {"handed-off", Severity::kInfo,
     "the connection ended earlier in the same frame and began again on another worker"},
    {"out-of-window", Severity::kWarn, "sequence number outside of the window"},
    {"bad-ack", Severity::kWarn, "acknowledges what was never sent or is long gone (RFC 5961)"},
    {"no-ack", Severity::kWarn, "neither ACK, SYN nor RST"},
    {"challenge-syn", Severity::kWarn, "SYN on a synchronised connection (RFC 5961)"},
    {"challenge-rst", Severity::kWarn, "RST in the window but not exact (RFC 5961)"},
    {"blind-rst", Severity::kWarn, "RST outside of the window or for another handshake"},
    {"paws", Severity::kWarn, "timestamp from the past (RFC 7323)"},
    {"no-timestamp", Severity::kWarn, "timestamps were agreed and are missing (RFC 7323)"},
    {"option-length", Severity::kError, "an option says that it is shorter than its own header"},
    {"option-overrun", Severity::kError, "an option goes beyond the TCP header"},
    {"data-after-close", Severity::kWarn, "text for an application that has closed; reset"},
    {"no-memory", Severity::kWarn, "text that the receive fifo could not take"},
    {"accept-queue-full", Severity::kWarn, "handshake ended, but the accept queue is full"},
    {"syn-dropped", Severity::kWarn,
     "SYN behind the end of a connection; backlog, memory or route of the listener did not allow"},
    {"stale", Severity::kInfo,
     "the connection ended earlier in the same frame and nothing took its place; answered by RST"},
};

void format_rx_trace(const void* record, std::string& out) {
  const auto& r = *static_cast<const RxTrace*>(record);
  const Segment& s = r.segment;
  out += "conn " + std::to_string(r.conn) + " seq " + std::to_string(s.seq.raw()) + " ack " +
         std::to_string(s.ack.raw()) + " length " + std::to_string(s.payload) + " window " +
         std::to_string(s.window) + " flags ";
  constexpr char kLetters[] = "FSRP.U";
  for (int i = 0; i < 6; ++i)
    if (s.flags & 1 << i) out += kLetters[i];
  out += std::string(" ") + kRxCounters[r.counter].name;
}

namespace {
// What an acknowledged FIN means (step 5 of section 3.10.7.4, per state). True: connection ended.
bool fin_was_acked(TcpWorker& t, Connection& c) noexcept {
  switch (c.state) {
    case State::kFinWait1:
      c.state = State::kFinWait2;
      release_session(t, c);
      return !c.is_alive();
    case State::kClosing:
      enter_time_wait(t, c);
      return true;
    case State::kLastAck:
      end_connection(t, c);
      return true;
    default:
      return false;
  }
}

// The peer's FIN was taken; section 3.10.7.4, eighth step.
void fin_was_received(TcpWorker& t, Connection& c) noexcept {
  switch (c.state) {
    case State::kEstablished:
      c.state = State::kCloseWait;
      arm_wait_timer(t, c);
      break;
    case State::kFinWait1:
      c.state = State::kClosing;  // had our FIN been acknowledged, this were FIN-WAIT-2
      break;
    case State::kFinWait2:
      break;
    default:
      return;
  }
  const bool ends = c.state == State::kFinWait2;
  t.want_ack(c);
  if (c.session != kNoSession) t.w.sessions->peer_closed(t.w, c.session);
  if (ends && c.is_alive()) enter_time_wait(t, c);
}
}  // namespace

RxCounter segment_arrives(TcpWorker& t, Connection& c, const Buffer& b, Segment s,
                          const Options& o) noexcept {
  if (const auto r = check_sequence(t, c, s, o); r != kRxGoOn) return r;
  if (const auto r = check_reset(t, c, s); r != kRxGoOn) return r;
  if (const auto r = check_syn(t, c, s); r != kRxGoOn) return r;
  if (!s.has(kAck)) return kRxNoAck;
  if (const auto r = process_ack(t, c, s, o); r != kRxGoOn) return r;
  if (is_fin_acked(c) && fin_was_acked(t, c)) [[unlikely]]
    return kRxAck;
  const RxCounter text = process_text(t, c, b, s);
  if (!c.is_alive()) [[unlikely]]
    return text;
  if (process_fin(t, c, s)) [[unlikely]] {
    fin_was_received(t, c);
    return text == kRxGoOn ? kRxFin : text;
  }
  return text == kRxGoOn ? kRxAck : text;
}

}  // namespace loom::tcp
