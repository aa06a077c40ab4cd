// The first four steps for a segment of a synchronised connection: is it from this connection, is
// it from now, and is it honest? RFC 9293 section 3.10.7.4, RFC 7323 section 5.3, RFC 5961.
#include "lifecycle.h"
#include "output.h"
#include "rx.h"

namespace loom::tcp {
namespace {
constexpr TimeNs kChallengeInterval = 500 * kMillisecond;
constexpr uint32_t kTsRecentValid = 24 * 24 * 3600;  // seconds; RFC 7323 section 5.5

// True when `tsval` is from before TS.Recent, and TS.Recent is young enough to tell.
bool is_old(const TcpWorker& t, const Connection& c, uint32_t tsval) noexcept {
  const auto seconds = static_cast<uint32_t>(t.w.now / kSecond);
  return static_cast<int32_t>(tsval - c.ts_recent) < 0 && seconds - c.ts_recent_at < kTsRecentValid;
}

// Two confused peers must not acknowledge each other for ever: empty segments are answered at the
// rate of challenge ACKs.
void answer(TcpWorker& t, Connection& c, const Segment& s) noexcept {
  if (s.length() == 0)
    challenge_ack(t, c);
  else
    t.want_ack(c);
}

// R1 of RFC 7323 section 5.3, before the window check. RST is exempt (section 5.2).
RxCounter check_timestamp(TcpWorker& t, Connection& c, const Segment& s,
                          const Options& o) noexcept {
  if (s.has(kRst)) return kRxGoOn;
  if (!o.has(kOptTimestamps)) return kRxNoTimestamp;
  if (!is_old(t, c, o.tsval)) return kRxGoOn;
  answer(t, c, s);
  return kRxPaws;
}

// R3: the timestamp of the segment that the next acknowledgement answers.
void update_ts_recent(TcpWorker& t, Connection& c, const Segment& s, const Options& o) noexcept {
  if (s.seq > c.rcv_las || is_old(t, c, o.tsval)) return;
  c.ts_recent = o.tsval;
  c.ts_recent_at = static_cast<uint32_t>(t.w.now / kSecond);
}

// Table 6 of RFC 9293 section 3.10.7.4.
bool is_acceptable(const Connection& c, const Segment& s) noexcept {
  const uint32_t length = s.length();
  const uint32_t window = c.rcv_wnd();
  if (length == 0) return window == 0 ? s.seq == c.rcv_nxt : s.seq.in_window(c.rcv_nxt, window);
  return window != 0 &&
         (s.seq.in_window(c.rcv_nxt, window) || (s.end() - 1).in_window(c.rcv_nxt, window));
}
}  // namespace

bool may_challenge(const TcpWorker& t, Stamp& last) noexcept {
  if (last.is_within(kChallengeInterval, t.w.now)) return false;
  last = Stamp::at(t.w.now);
  return true;
}

void challenge_ack(TcpWorker& t, Connection& c) noexcept {
  if (may_challenge(t, c.challenge_at)) t.want_ack(c);
}

RxCounter check_sequence(TcpWorker& t, Connection& c, Segment& s, const Options& o) noexcept {
  if (c.has(kUseTimestamps))
    if (const auto r = check_timestamp(t, c, s, o); r != kRxGoOn) [[unlikely]]
      return r;
  if (!is_acceptable(c, s)) [[unlikely]] {
    if (s.has(kRst)) return kRxBlindRst;
    if (s.has(kSyn)) return kRxGoOn;  // step four answers it, wherever it is
    if (c.rcv_wnd() == 0 && s.seq == c.rcv_nxt && s.has(kAck)) {
      // A probe of our closed window: its acknowledgement is good, its text is not taken.
      t.want_ack(c);
      s.payload = 0;
      s.flags &= static_cast<uint8_t>(~kFin);
      return kRxGoOn;
    }
    const bool is_old = s.end() <= c.rcv_nxt;
    if (s.seq == c.rcv_nxt - 1) {  // keepalive
      t.want_ack(c);
    } else {
      answer(t, c, s);
      if (is_old && s.payload != 0) c.quick_acks = kQuickAcks;  // it was sent again
    }
    return is_old ? kRxOldData : kRxOutOfWindow;
  }
  if (c.has(kUseTimestamps) && o.has(kOptTimestamps)) update_ts_recent(t, c, s, o);
  c.last_received = Stamp::at(t.w.now);
  c.keep_probes = 0;
  ++c.segs_in;
  return kRxGoOn;
}

RxCounter check_reset(TcpWorker& t, Connection& c, const Segment& s) noexcept {
  if (!s.has(kRst)) [[likely]]
    return kRxGoOn;
  if (s.seq != c.rcv_nxt) {
    challenge_ack(t, c);
    return kRxChallengeRst;
  }
  // In the closing states nothing of the application's is lost by it.
  const bool in_order = c.state == State::kClosing || c.state == State::kLastAck;
  if (in_order)
    end_connection(t, c);
  else
    drop_connection(
        t, c, c.state == State::kSynReceived ? ResetReason::kRefused : ResetReason::kPeerReset);
  return kRxReset;
}

RxCounter check_syn(TcpWorker& t, Connection& c, const Segment& s) noexcept {
  if (!s.has(kSyn)) [[likely]]
    return kRxGoOn;
  challenge_ack(t, c);
  return kRxChallengeSyn;
}

}  // namespace loom::tcp
