// Loss recovery; see recovery.h.
#include "recovery.h"

#include <algorithm>

#include "output.h"
#include "timers.h"

namespace loom::tcp {
namespace {
// Where the first segment ended when fast recovery began.
Seq first_segment(const Connection& c) noexcept {
  return c.recover - c.recover_fs + std::min(c.cc->mss, c.recover_fs);
}
// Everything below is taken for lost, unless it is SACKed.
Seq lost_below(const Connection& c) noexcept {
  Seq lost = c.sack ? c.sack->lost_below(c.snd_una, c.cc->mss) : c.snd_una;
  if (c.recovery == Recovery::kLoss) lost = max(lost, c.recover);
  // The first segment in any case: of the recovery (RFC 6675 section 5 step 4.3); without SACK
  // also behind each partial acknowledgement (RFC 6582 section 3.2 step 3.2).
  if (c.recovery == Recovery::kFast)
    lost = max(lost, c.has(kUseSack) ? first_segment(c) : min(c.snd_una + c.cc->mss, c.recover));
  return lost;
}
}  // namespace

uint32_t pipe(const Connection& c) noexcept {
  if (c.recovery == Recovery::kOpen && !c.sack) [[likely]]
    return c.flight() - std::min(c.reno_sacked, c.flight());
  const Seq lost = lost_below(c);
  const Seq high_rxt = max(c.high_rxt, c.snd_una);
  if (c.sack) return c.sack->pipe(c.snd_una, c.snd_nxt, lost, high_rxt);
  const auto behind = static_cast<uint32_t>(c.snd_nxt - lost);
  const auto again = static_cast<uint32_t>(min(high_rxt, lost) - c.snd_una);
  return behind - std::min(c.reno_sacked, behind) + again;
}

namespace {
// The next stretch that is lost and has not been retransmitted in this recovery (NextSeg, rule 1).
bool next_lost(const Connection& c, SackBlock& out) noexcept {
  const Seq from = max(c.high_rxt, c.snd_una);
  const Seq end = lost_below(c);
  if (!c.sack) {
    out = {from, end};
    return from < end;
  }
  return c.sack->next_hole(from, end, out);
}

}  // namespace

void retransmit_lost(TcpWorker& t, Connection& c, uint32_t least) noexcept {
  const auto kind =
      c.recovery == Recovery::kFast ? SegmentKind::kFastRetransmit : SegmentKind::kRetransmit;
  SackBlock hole;
  while (next_lost(c, hole)) {
    const auto size = static_cast<uint32_t>(hole.end - hole.start);
    const uint32_t mss = c.cc->mss;
    const uint32_t room = std::max(cwnd_room(c) / mss * mss, least);
    const uint32_t n = std::min({size, room, chain_limit(t, c)});
    if (n == 0 || (n < mss && n < size)) return;
    if (!retransmit(t, c, hole.start, n, kind)) return;
    c.high_rxt = hole.start + n;
    if (c.recovery == Recovery::kFast) c.prr_out += n;
    least = 0;
  }
}

namespace {
// Rule 2 of NextSeg can be applied: unsent data waits, and the peer's window takes a segment of it.
bool new_data_waits(TcpWorker& t, const Connection& c) noexcept {
  if (c.session == kNoSession || !c.can_send()) return false;
  const uint32_t queued = t.w.sessions->tx_queued(t.w, c.session);
  const uint32_t in_flight = c.data_in_flight();
  if (queued <= in_flight) return false;
  return c.snd_wnd >= c.flight() + std::min(queued - in_flight, c.cc->mss);
}

// Rule 4: one segment that ends with the highest byte which is neither acknowledged nor SACKed.
// HighRxt stays, so that SetPipe does not count the segment; PRR does. Unlike the rule, not when
// this recovery has retransmitted that byte already: it would be sent twice in a row.
void rescue(TcpWorker& t, Connection& c) noexcept {
  SackBlock hole{c.snd_una, c.snd_nxt};
  if (c.sack && !c.sack->last_hole(c.snd_una, c.snd_nxt, hole)) return;
  if (hole.end <= c.high_rxt) return;
  const uint32_t n = std::min(static_cast<uint32_t>(hole.end - hole.start), c.cc->mss);
  if (n == 0 || !retransmit(t, c, hole.end - n, n, SegmentKind::kFastRetransmit)) return;
  c.prr_out += n;
  c.set(kRescued);
}
}  // namespace

void retransmit_early(TcpWorker& t, Connection& c) noexcept {
  if (c.recovery != Recovery::kFast || !c.has(kUseSack) || new_data_waits(t, c)) return;
  const uint32_t mss = c.cc->mss;
  const Seq end = c.sack && !c.sack->empty() ? c.sack->highest() : c.snd_una;
  SackBlock hole;
  while (cwnd_room(c) >= mss) {
    const Seq from = max(c.high_rxt, c.snd_una);
    if (from >= end || !c.sack->next_hole(from, end, hole)) {  // rule 3 has nothing (left)
      if (!c.has(kRescued)) rescue(t, c);
      return;
    }
    const uint32_t n = std::min(static_cast<uint32_t>(hole.end - hole.start), mss);
    if (!retransmit(t, c, hole.start, n, SegmentKind::kFastRetransmit)) return;
    c.high_rxt = hole.start + n;
    c.prr_out += n;
  }
}

namespace {
void prr_update(Connection& c, uint32_t delivered, uint32_t least) noexcept {
  c.prr_delivered += delivered;
  const uint32_t p = pipe(c);
  int64_t sndcnt;
  if (p > c.cc->ssthresh) {  // proportional rate reduction
    const uint64_t goal = (uint64_t{c.prr_delivered} * c.cc->ssthresh + c.recover_fs - 1) /
                          std::max(c.recover_fs, 1u);
    sndcnt = static_cast<int64_t>(goal) - c.prr_out;
  } else {  // slow start reduction bound
    const int64_t limit =
        std::max<int64_t>(int64_t{c.prr_delivered} - c.prr_out, delivered) + c.cc->mss;
    sndcnt = std::min<int64_t>(c.cc->ssthresh - p, limit);
  }
  c.cc->cwnd = p + static_cast<uint32_t>(std::max<int64_t>(sndcnt, least));
}

uint32_t enter_recovery(TcpWorker& t, Connection& c, const AckEvent& e) noexcept {
  ++t.stats.fast_recoveries;
  // What limited transmit sent beyond cwnd does not count (RFC 5681 section 3.2 step 2).
  const uint32_t in_flight = std::min(c.flight(), c.cc->cwnd);
  c.cc_ops->on_congestion(*c.cc, {.now = t.w.now, .in_flight = in_flight, .is_timeout = false});
  c.recovery = Recovery::kFast;
  c.unset(kRescued);
  c.recover = c.snd_nxt;
  c.high_rxt = c.snd_una;
  c.recover_fs = c.flight();
  c.prr_out = 0;
  c.prr_delivered = 0;
  const uint32_t first = std::min(c.cc->mss, c.flight());
  prr_update(c, e.delivered, first);
  return first;  // step 4.3: whatever cwnd says
}

void leave_recovery(TcpWorker& t, Connection& c) noexcept {
  const bool was_fast = c.recovery == Recovery::kFast;
  c.recovery = Recovery::kOpen;
  c.dupacks = 0;
  c.reno_sacked = 0;
  c.high_rxt = c.snd_una;
  if (!was_fast) return;  // after a timeout cwnd is slow start's
  if (c.cc_ops->on_recovered)
    c.cc_ops->on_recovered(*c.cc, t.w.now);
  else
    c.cc->cwnd = c.cc->ssthresh;
}

bool must_enter(const Connection& c) noexcept {
  if (c.sack && c.sack->lost_below(c.snd_una, c.cc->mss) > c.snd_una) return true;
  if (c.dupacks < kDupThresh) return false;
  // RFC 6582 section 3.2 step 1: duplicates that our own retransmissions caused are no news.
  return c.has(kUseSack) ? c.sack != nullptr : c.snd_una > c.recover;
}
}  // namespace

uint32_t detect_loss(TcpWorker& t, Connection& c, const AckEvent& e) noexcept {
  if (c.recovery != Recovery::kOpen && c.snd_una >= c.recover) leave_recovery(t, c);
  switch (c.recovery) {
    case Recovery::kOpen:
      if (e.acked != 0) {
        c.dupacks = 0;
        c.reno_sacked = 0;
      }
      if (e.is_duplicate && c.dupacks < 255) ++c.dupacks;
      return c.flight() != 0 && must_enter(c) ? enter_recovery(t, c, e) : 0;
    case Recovery::kFast: {
      const uint32_t least = !c.has(kUseSack) && e.acked != 0 ? c.cc->mss : 0;  // the next hole
      prr_update(c, e.delivered, least);
      return least;
    }
    case Recovery::kLoss:
      break;
  }
  return 0;
}

void on_retransmission_timeout(TcpWorker& t, Connection& c) noexcept {
  // RFC 2018 section 8: a peer may take back what it SACKed. It is believed until the first range
  // touches snd_una unacknowledged, which is proof.
  if (c.sack && c.sack->reneged(c.snd_una)) {
    ++t.stats.reneged;
    c.sack->clear();
  }
  // ssthresh only falls at the first timeout of a segment (RFC 5681 section 3.1).
  if (c.recovery != Recovery::kLoss || c.retries == 0)
    c.cc_ops->on_congestion(*c.cc, {.now = t.w.now, .in_flight = c.flight(), .is_timeout = true});
  c.cc->cwnd = c.cc->mss;
  c.recovery = Recovery::kLoss;
  c.recover = c.snd_nxt;
  c.high_rxt = c.snd_una;
  c.dupacks = 0;
  c.reno_sacked = 0;
  c.rtt_sent = 0;
  c.set(kCwndLimited);  // one segment is less than anybody wants to send
  c.cwnd_limited_at = c.snd_nxt;
  retransmit_lost(t, c, std::min(c.cc->mss, c.flight()));
}

}  // namespace loom::tcp
