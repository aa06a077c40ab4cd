// What becomes of a received segment: the counters that all state nodes share, the steps of
// RFC 9293 section 3.10.7.4 as functions, and the loop around them. Each step returns kRxGoOn, or
// the counter under which the segment ends. Everything here runs within a TcpWorker::Scope.
#pragma once
#include "frame_end.h"
#include "options.h"
#include "segment.h"
#include "tcp_worker.h"

namespace loom::tcp {

enum RxCounter : uint16_t {
  kRxData,
  kRxOutOfOrder,
  kRxAck,
  kRxFin,
  kRxHandshake,
  kRxReset,
  kRxOldData,
  kRxTimeWait,
  kRxTimeWaitReuse,
  kRxHandedOff,  // the buffer is no longer ours
  // What follows is refused.
  kRxOutOfWindow,
  kRxBadAck,
  kRxNoAck,
  kRxChallengeSyn,
  kRxChallengeRst,
  kRxBlindRst,
  kRxPaws,
  kRxNoTimestamp,
  kRxOptionLength,
  kRxOptionOverrun,
  kRxAfterClose,
  kRxNoMemory,
  kRxAcceptQueueFull,
  kRxSynDropped,
  kRxStale,
  kRxCounterCount,
  kRxGoOn = 0xffff,
};
extern const CounterInfo kRxCounters[kRxCounterCount];

// --- Steps of a synchronised connection, in the RFC's order. `s` may be trimmed.
// First: timestamps (RFC 7323 section 5.3) and sequence number.
RxCounter check_sequence(TcpWorker&, Connection&, Segment& s, const Options&) noexcept;
// Second: RST, which must hit rcv_nxt exactly (RFC 5961 section 3.2).
RxCounter check_reset(TcpWorker&, Connection&, const Segment& s) noexcept;
// Fourth: SYN never ends a connection (RFC 5961 section 4.2).
RxCounter check_syn(TcpWorker&, Connection&, const Segment& s) noexcept;
// Fifth: ACK. Windows, retransmission, congestion control; the caller looks whether the FIN was
// acknowledged.
RxCounter process_ack(TcpWorker&, Connection&, const Segment& s, const Options&) noexcept;
inline bool is_fin_acked(const Connection& c) noexcept {
  return c.has(kFinSent) && c.snd_una == c.snd_nxt;
}
// Seventh: text, into the session's fifo. kRxGoOn when there was none; the connection may be gone
// afterwards (see is_alive) when the application closed it from a callback.
RxCounter process_text(TcpWorker&, Connection&, const Buffer& b, const Segment& s) noexcept;
// Eighth: FIN, as soon as everything before it has arrived. True when it was taken just now.
bool process_fin(TcpWorker&, Connection&, const Segment& s) noexcept;

// All eight steps, for a connection in any synchronised state but SYN-RECEIVED.
RxCounter segment_arrives(TcpWorker&, Connection&, const Buffer& b, Segment s,
                          const Options&) noexcept;

// Whether to answer a segment that an honest peer would not send, or that is an answer itself: so
// that two ends which disagree do not answer each other for ever. At most two a second for each
// `last`, which is when it was last allowed (RFC 5961 section 7).
bool may_challenge(const TcpWorker&, Stamp& last) noexcept;
// An ACK that tells the peer what we expect, so limited.
void challenge_ack(TcpWorker&, Connection&) noexcept;

// The options of a segment; a fault ends it.
inline OptionFault options_of(TcpWorker& t, Buffer& b, const Segment& s, Options& out) noexcept {
  const uint32_t n = s.header_length - 20u;
  if (n == 0) return OptionFault::kNone;
  const OptionFault fault = parse_options({b.data + 20, n}, out);
  if (out.ignored != 0) [[unlikely]]
    t.stats.ignored_options += out.ignored;
  return fault;
}
inline RxCounter counter_of(OptionFault f) noexcept {
  return f == OptionFault::kLength ? kRxOptionLength : kRxOptionOverrun;
}

// --- The loop of a state node. arrive(t, buffer) returns a counter; see frame_end.h.
struct RxTrace {
  ConnId conn;
  Segment segment;
  uint16_t counter;
};
void format_rx_trace(const void* record, std::string& out);

template <class Arrive>
void run_segments(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in,
                  Arrive&& arrive) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  FrameEnd<kRxCounterCount> frame(w, rt);
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch_data();
    Buffer& b = *in[i];
    const RxCounter counter = arrive(t, b);
    if (counter == kRxHandedOff) [[unlikely]] {
      frame.gone(counter);
      continue;
    }
    if (b.is_traced()) [[unlikely]]
      if (auto* r = rt.trace<RxTrace>(b)) *r = {b.session, segment_of(b), counter};
    frame.end(b, counter);
  }
}

}  // namespace loom::tcp
