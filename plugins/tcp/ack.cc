// The fifth step: acknowledgements. RFC 9293 section 3.10.7.4, RFC 5961 section 5.2, with the
// measurements (RFC 6298, RFC 7323) and calls to loss detection and congestion control.
#include <algorithm>

#include "output.h"
#include "recovery.h"
#include "rx.h"
#include "timers.h"

namespace loom::tcp {
namespace {
// SND.WND; true when the peer's window changed.
bool update_window(Connection& c, const Segment& s) noexcept {
  if (!(c.snd_wl1 < s.seq || (c.snd_wl1 == s.seq && c.snd_wl2 <= s.ack))) return false;
  const uint32_t window = uint32_t{s.window} << (s.has(kSynTaken) ? 0 : c.snd_wscale);
  c.snd_wl1 = s.seq;
  c.snd_wl2 = s.ack;
  if (window == c.snd_wnd) return false;
  c.snd_wnd = window;
  c.max_snd_wnd = std::max(c.max_snd_wnd, window);
  return true;
}

// True when a block says something new.
bool update_scoreboard(TcpWorker& t, Connection& c, const Options& o) noexcept {
  if (!c.sack) {
    // Blocks at or below snd_una are duplicates' (RFC 2883): no reason for a scoreboard.
    const bool above = std::any_of(o.sack.begin(), o.sack.begin() + o.n_sack, [&](const auto& b) {
      return b.start > c.snd_una && b.end <= c.snd_nxt;
    });
    if (!above || !(c.sack = t.scoreboards.alloc())) return false;
  }
  return c.sack->add(o, c.snd_una, c.snd_nxt);
}

// The round-trip time that this acknowledgement measures; 0 = none.
TimeNs rtt_sample(const TcpWorker& t, const Connection& c, const Options& o) noexcept {
  if (c.rtt_sent != 0) return c.snd_una >= c.rtt_seq ? t.w.now - c.rtt_sent : 0;
  // Among retransmissions only timestamps tell (RFC 7323 section 4.1); in milliseconds.
  if (!c.has(kUseTimestamps) || o.tsecr == 0) return 0;
  if (c.recovery == Recovery::kOpen && c.backoff == 0) return 0;
  const uint32_t ms = timestamp_now(t, c.ts_offset) - o.tsecr;
  return ms < 60'000 ? std::max<TimeNs>(ms, 1) * kMillisecond : 0;
}

uint32_t sacked(const Connection& c) noexcept { return c.sack ? c.sack->sacked() : c.reno_sacked; }

// snd_una moves to `ack`; the fifo lets go of what is acknowledged.
void advance(TcpWorker& t, Connection& c, Seq ack) noexcept {
  const auto acked = static_cast<uint32_t>(ack - c.snd_una);
  const uint32_t text = acked - (c.has(kFinSent) && ack == c.snd_nxt ? 1 : 0);
  c.snd_una = ack;
  if (text != 0 && c.session != kNoSession) t.w.sessions->tx_drop(t.w, c.session, text);
  if (c.sack) {
    c.sack->advance(ack);
    if (c.sack->empty()) {
      t.scoreboards.free(*c.sack);
      c.sack = nullptr;
    }
  } else if (c.reno_sacked != 0) {
    // The hole and what was counted as delivered behind it (RFC 6582 section 3.2 step 3.2).
    c.reno_sacked -= std::min(c.reno_sacked, acked > c.cc->mss ? acked - c.cc->mss : 0);
  }
  // Marks that lie behind must not fall so far back that comparisons wrap.
  if (c.snd_sml < ack) c.snd_sml = ack;
  if (c.recovery == Recovery::kOpen) {
    c.high_rxt = ack;
    if (c.recover < ack - 1) c.recover = ack - 1;
  }
}

void tell_controller(TcpWorker& t, Connection& c, const AckEvent& e, TimeNs rtt, uint64_t rate,
                     bool in_recovery) noexcept {
  const bool limited = c.has(kCwndLimited);
  if (limited && c.snd_una >= c.cwnd_limited_at) c.unset(kCwndLimited);
  c.cc_ops->on_ack(*c.cc, {.now = t.w.now,
                           .srtt = c.rtt.srtt(),
                           .rtt = rtt,
                           .min_rtt = c.rtt.min_rtt(),
                           .bytes_acked = e.acked,
                           .in_flight = e.prior_pipe,
                           .delivered = c.delivered,
                           .delivery_rate = rate,
                           .cwnd_limited = limited,
                           .in_recovery = in_recovery,
                           .ece = false});
}

// The retransmission timer after an acknowledgement (RFC 6298 sections 5.2 and 5.3).
void rearm(TcpWorker& t, Connection& c, bool acked) noexcept {
  if (c.send_timer_kind == SendTimer::kPersist) {
    if (c.snd_wnd <= c.flight()) return;
    disarm_send_timer(c);
    c.backoff = 0;
    if (c.flight() != 0) {  // the probe's byte was refused, and now there is room for it
      retransmit(t, c, c.snd_una, c.flight(), SegmentKind::kRetransmit);
      arm_rto(t, c);
    }
  } else if (c.flight() == 0) {
    disarm_send_timer(c);
  } else if (acked) {
    arm_rto(t, c);
  }
}
}  // namespace

RxCounter process_ack(TcpWorker& t, Connection& c, const Segment& s, const Options& o) noexcept {
  if (s.ack > c.snd_nxt || s.ack < c.snd_una - c.max_snd_wnd) [[unlikely]] {
    challenge_ack(t, c);
    return kRxBadAck;
  }
  AckEvent e{.prior_pipe = pipe(c)};
  const uint32_t sacked_before = sacked(c);
  const bool news = o.n_sack != 0 && c.has(kUseSack) && update_scoreboard(t, c, o);
  const bool window_changed = s.ack >= c.snd_una && update_window(c, s);

  TimeNs rtt = 0;
  uint64_t rate = 0;
  if (s.ack > c.snd_una) {
    e.acked = static_cast<uint32_t>(s.ack - c.snd_una);
    advance(t, c, s.ack);
    c.progress_at = Stamp::at(t.w.now);
  } else if (s.ack == c.snd_una && c.flight() != 0 && s.length() == 0) {
    e.is_duplicate = c.has(kUseSack) ? news : !window_changed;
    if (e.is_duplicate && !c.has(kUseSack) && c.recovery != Recovery::kLoss)
      c.reno_sacked = std::min(c.reno_sacked + c.cc->mss, c.flight());
  } else if (news) {
    e.is_duplicate = true;  // with text of its own, and SACK blocks
  }
  // What was SACKed earlier left the scoreboard with the cumulative acknowledgement: not twice.
  const int64_t delivered = int64_t{e.acked} + sacked(c) - sacked_before;
  e.delivered = static_cast<uint32_t>(std::max<int64_t>(delivered, 0));
  c.delivered += e.delivered;

  if (e.acked != 0) {
    rtt = rtt_sample(t, c, o);
    if (c.rtt_sent != 0 && rtt > 0) {
      const uint32_t n = static_cast<uint32_t>(c.delivered) - c.delivered_timed;
      rate = static_cast<uint64_t>(n * 1e9 / static_cast<double>(rtt));
      c.rtt_sent = 0;
    }
    if (rtt != 0) {
      c.rtt.add_sample(rtt, t.config.min_rto);
      if (c.send_timer_kind != SendTimer::kPersist) c.backoff = 0;
    }
  }
  // A peer that says its window is shut is there, and may keep it so (RFC 9293 section 3.8.6.1).
  if (e.acked != 0 || c.snd_wnd == 0) c.retries = 0;
  const bool was_fast = c.recovery == Recovery::kFast;
  if (e.delivered != 0 || e.is_duplicate) {
    const uint32_t least = detect_loss(t, c, e);
    tell_controller(t, c, e, rtt, rate, was_fast || c.recovery == Recovery::kFast);
    if (c.recovery != Recovery::kOpen) retransmit_lost(t, c, least);
    retransmit_early(t, c);
  }
  rearm(t, c, e.acked != 0);
  if (c.session != kNoSession && (e.delivered != 0 || window_changed) &&
      t.w.sessions->tx_queued(t.w, c.session) > c.data_in_flight())
    t.w.sessions->tx_schedule(t.w, c.session);
  return kRxGoOn;
}

}  // namespace loom::tcp
