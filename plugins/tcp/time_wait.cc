// TIME-WAIT: RFC 9293 section 3.10.7.4, RFC 1337 (RST does not end it), RFC 6191 (a new SYN may).
#include "time_wait.h"

#include "half_open.h"
#include "lifecycle.h"
#include "listen.h"
#include "output.h"

namespace loom::tcp {
namespace {
void answer(TcpWorker& t, const TimeWait& tw) noexcept {
  Options o;
  if (tw.use_timestamps) {
    o.present = kOptTimestamps;
    o.tsval = timestamp_now(t, tw.ts_offset);
    o.tsecr = tw.ts_recent;
  }
  transmit_empty(t, tw.ends,
                 {.seq = tw.snd_nxt, .ack = tw.rcv_nxt, .window = tw.window, .flags = kAck}, o);
}

// RFC 6191 section 2: a later timestamp, or without timestamps a later sequence number.
bool is_new_incarnation(const TimeWait& tw, const Segment& s, const Options& o) noexcept {
  if (tw.use_timestamps && o.has(kOptTimestamps) && o.tsval != tw.ts_recent)
    return static_cast<int32_t>(o.tsval - tw.ts_recent) > 0;
  return s.seq > tw.rcv_nxt;
}
}  // namespace

RxCounter time_wait_arrives(TcpWorker& t, TimeWait& tw, IfIndex by, const Segment& s,
                            const Options& o) noexcept {
  if (s.has(kRst)) return kRxTimeWait;
  if (s.has(kSyn) && !s.has(kAck)) {
    if (!is_new_incarnation(tw, s, o)) {
      answer(t, tw);
      return kRxTimeWait;
    }
    // The entry steps aside so that the listener behind it is found, and ends only when the SYN
    // takes its place: a forged one must not shorten the wait.
    t.w.sessions->flow_del(t.w, tw.ends, kProtoTcp);
    const auto verdict = listener_arrives(t, tw.ends, by, s, o, &tw.snd_nxt);
    const bool replaced = verdict == SynVerdict::kAnswered;
    if (replaced || t.w.sessions->flow_add(t.w, tw.ends, kProtoTcp, FlowKind::kEstablished,
                                           tw.id) != Status::kOk) {
      t.w.timer_stop(tw.timer);
      t.time_waits.free(tw);
      return replaced ? kRxTimeWaitReuse : kRxTimeWait;
    }
    if (!verdict) answer(t, tw);
    return kRxTimeWait;
  }
  if (!s.has(kAck)) return kRxNoAck;
  // A retransmitted FIN: our acknowledgement of it was lost; 2 MSL begin again.
  if (s.has(kFin)) t.w.timer_start_in(tw.timer, t.config.timewait_time);
  if (s.length() != 0 || (s.seq != tw.rcv_nxt && may_challenge(t, tw.challenge_at))) answer(t, tw);
  return kRxTimeWait;
}

}  // namespace loom::tcp
