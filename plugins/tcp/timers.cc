// Timers of a connection; see timers.h.
#include "timers.h"

#include <algorithm>

#include "lifecycle.h"
#include "output.h"
#include "recovery.h"

namespace loom::tcp {
namespace {
constexpr TimeNs kLeastDelack = 200 * kMicrosecond;
constexpr uint8_t kMaxBackoff = 16;          // 1 ms << 16 is beyond kMaxRto
constexpr TimeNs kPaceBurst = kMillisecond;  // what pacing lets go at once, in time

// Starts the wheel's timer unless it already fires at or before `deadline`.
void ensure(TcpWorker& t, Connection& c, Deadline deadline) noexcept {
  const TimeNs when = deadline.time(t.w.now);
  const auto tick = static_cast<uint64_t>(when / kTimerTick);
  if (!c.timer.is_running() || c.timer.deadline_tick > tick) t.w.timer_start(c.timer, when);
}

void wait_for(TcpWorker& t, Connection& c, TimeNs time) noexcept {
  c.wait_deadline = Deadline::at(t.w.now + std::min(time, Deadline::kFarthest));
  ensure(t, c, c.wait_deadline);
}

TimeNs backed_off(const Connection& c) noexcept {
  return std::min(c.rtt.rto() << c.backoff, kMaxRto);
}

void set_send_timer(TcpWorker& t, Connection& c, SendTimer kind) noexcept {
  c.send_timer_kind = kind;
  TimeNs in = backed_off(c);
  if (c.user_timeout_ms != 0) {  // RFC 5482: the last retransmission does not outlive it
    const TimeNs left = TimeNs{c.user_timeout_ms} * kMillisecond - c.progress_at.since(t.w.now);
    in = std::clamp(left, kTimerTick, in);
  }
  c.send_deadline = Deadline::at(t.w.now + in);
  ensure(t, c, c.send_deadline);
}

// The user timeout, and our patience with a peer that an application has left alone.
bool has_stalled(const TcpWorker& t, const Connection& c) noexcept {
  const TimeNs stalled = c.progress_at.since(t.w.now);
  if (c.user_timeout_ms != 0 && stalled >= TimeNs{c.user_timeout_ms} * kMillisecond) return true;
  return c.has(kAppClosed) && stalled >= t.config.finwait1_time;
}
// R2 of RFC 9293 section 3.8.3.
bool has_retried_enough(const TcpWorker& t, const Connection& c) noexcept {
  const bool opening = c.state == State::kSynSent || c.state == State::kSynReceived;
  return c.retries >= (opening ? t.config.max_syn_retransmits : t.config.max_retransmits);
}

void give_up(TcpWorker& t, Connection& c) noexcept {
  ++t.stats.timed_out;
  if (c.state != State::kSynSent) send_rst(t, c);
  drop_connection(t, c, ResetReason::kTimedOut);
}

void retransmit_timeout(TcpWorker& t, Connection& c) noexcept {
  if (has_retried_enough(t, c) || has_stalled(t, c)) return give_up(t, c);
  ++t.stats.timeouts;
  if (c.state == State::kSynSent || c.state == State::kSynReceived) {
    c.set(kSynRetransmitted);
    c.rtt_sent = 0;  // Karn
    send_syn(t, c);
  } else {
    on_retransmission_timeout(t, c);
  }
  ++c.retries;
  if (c.backoff < kMaxBackoff) ++c.backoff;
  arm_rto(t, c);
}

// keep_probes counts probes without any answer; a peer that answers may keep its window shut for
// as long as it likes (RFC 9293 section 3.8.6.1).
void persist_timeout(TcpWorker& t, Connection& c) noexcept {
  if (c.keep_probes >= t.config.max_retransmits || has_stalled(t, c)) return give_up(t, c);
  if (c.snd_wnd > c.flight() && c.flight() == 0 && c.session != kNoSession) {
    // A window too small to be worth a segment has waited long enough (RFC 9293
    // section 3.8.6.2.1).
    c.send_timer_kind = SendTimer::kOff;
    c.set(kSendAnyway);
    t.w.sessions->tx_schedule(t.w, c.session);
    return;
  }
  ++t.stats.persist_probes;
  ++c.keep_probes;
  send_window_probe(t, c);
  c.backoff = static_cast<uint8_t>(std::min(c.backoff + 1, +kMaxBackoff));
  set_send_timer(t, c, SendTimer::kPersist);
}

void keepalive_timeout(TcpWorker& t, Connection& c) noexcept {
  if (c.keep_probes >= c.keepcnt) {
    ++t.stats.keepalive_drops;
    send_rst(t, c);
    return drop_connection(t, c, ResetReason::kTimedOut);
  }
  ++c.keep_probes;
  send_keepalive(t, c);
  wait_for(t, c, TimeNs{c.keepintvl_ms} * kMillisecond);
}

void wait_is_over(TcpWorker& t, Connection& c) noexcept {
  const TimeNs idle = c.last_received.since(t.w.now);
  if (c.state == State::kFinWait2 && c.session == kNoSession) return end_connection(t, c);
  if (c.state == State::kCloseWait && t.config.closewait_time != 0) {
    // Since the peer was last heard of; keepalive waits, its turn is later or never.
    if (idle < t.config.closewait_time) return wait_for(t, c, t.config.closewait_time - idle);
    send_rst(t, c);
    return drop_connection(t, c, ResetReason::kTimedOut);
  }
  if (!c.has(kKeepalive)) return;
  const TimeNs left = TimeNs{c.keepidle_ms} * kMillisecond - idle;
  if (left > 0 || c.flight() != 0)  // the retransmission timer watches data in flight
    return wait_for(t, c, std::max(left, kSecond));
  keepalive_timeout(t, c);
}

// What is due happens, each unless something before it has ended the connection; then the timer
// runs on for the earliest of the rest.
void timer_fired(Worker& w, Timer& timer) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  Connection& c = LOOM_TIMER_OWNER(Connection, timer, timer);
  if (c.send_timer_kind != SendTimer::kOff && c.send_deadline.is_due(w.now)) {
    if (c.send_timer_kind == SendTimer::kRetransmit)
      retransmit_timeout(t, c);
    else
      persist_timeout(t, c);
  }
  if (c.is_alive() && c.has(kAckDelayed) && c.delack_deadline.is_due(w.now)) t.want_ack(c);
  if (c.is_alive() && c.wait_deadline.is_due(w.now)) {
    c.wait_deadline = {};
    wait_is_over(t, c);
  }
  if (c.is_alive() && c.wake_deadline.is_due(w.now)) {
    c.wake_deadline = {};
    if (c.session != kNoSession) w.sessions->tx_schedule(w, c.session);
  }
  if (!c.is_alive()) return;
  if (c.send_timer_kind != SendTimer::kOff) ensure(t, c, c.send_deadline);
  if (c.has(kAckDelayed) && !c.delack_deadline.is_due(w.now)) ensure(t, c, c.delack_deadline);
  if (c.wait_deadline.is_set()) ensure(t, c, c.wait_deadline);
  if (c.wake_deadline.is_set()) ensure(t, c, c.wake_deadline);
}
}  // namespace

void resume_timers(TcpWorker& t, Connection& c) noexcept {
  if (c.send_timer_kind != SendTimer::kOff) ensure(t, c, c.send_deadline);
  if (c.has(kAckDelayed)) ensure(t, c, c.delack_deadline);
  if (c.wait_deadline.is_set()) ensure(t, c, c.wait_deadline);
  if (c.wake_deadline.is_set()) ensure(t, c, c.wake_deadline);
}

void init_timers(Connection& c) noexcept { c.timer.fired = timer_fired; }

void stop_timers(TcpWorker& t, Connection& c) noexcept {
  t.w.timer_stop(c.timer);
  c.send_timer_kind = SendTimer::kOff;
  c.wait_deadline = c.wake_deadline = {};
}

void arm_rto(TcpWorker& t, Connection& c) noexcept { set_send_timer(t, c, SendTimer::kRetransmit); }

void arm_rto_if_off(TcpWorker& t, Connection& c) noexcept {
  if (c.send_timer_kind != SendTimer::kRetransmit) {
    if (c.send_timer_kind == SendTimer::kPersist) c.backoff = 0;
    arm_rto(t, c);
  }
}

void disarm_send_timer(Connection& c) noexcept { c.send_timer_kind = SendTimer::kOff; }

void arm_persist_if_off(TcpWorker& t, Connection& c) noexcept {
  if (c.send_timer_kind != SendTimer::kOff) return;
  c.backoff = 0;
  c.keep_probes = 0;
  c.progress_at = Stamp::at(t.w.now);
  set_send_timer(t, c, SendTimer::kPersist);
}

TimeNs delack_time(const TcpWorker& t, const Connection& c) noexcept {
  const TimeNs most = t.config.max_delack;
  return c.rtt.srtt() == 0 ? most
                           : std::clamp(c.rtt.srtt() / 2, std::min(kLeastDelack, most), most);
}

void arm_delack(TcpWorker& t, Connection& c) noexcept {
  if (c.has(kAckDelayed)) return;
  c.set(kAckDelayed);
  c.delack_deadline = Deadline::at(t.w.now + delack_time(t, c));
  ensure(t, c, c.delack_deadline);
}

void arm_wait_timer(TcpWorker& t, Connection& c) noexcept {
  if (c.state == State::kFinWait2 && c.session == kNoSession)
    wait_for(t, c, t.config.finwait2_time);
  else if (c.state == State::kCloseWait && t.config.closewait_time != 0)
    wait_for(t, c, t.config.closewait_time);
  else if (c.has(kKeepalive))
    wait_for(t, c, TimeNs{c.keepidle_ms} * kMillisecond);
  else
    c.wait_deadline = {};
}

void wake_sender_at(TcpWorker& t, Connection& c, Deadline when) noexcept {
  const TimeNs now = t.w.now;
  if (!c.wake_deadline.is_set() || when.time(now) < c.wake_deadline.time(now))
    c.wake_deadline = when;
  ensure(t, c, when);
}

void pace(TcpWorker& t, Connection& c, uint32_t bytes) noexcept {
  if (c.cc->pacing_rate == 0 || !t.config.pacing) return;
  const auto cost = static_cast<TimeNs>(static_cast<double>(bytes) * 1e9 /
                                        static_cast<double>(c.cc->pacing_rate));
  c.pace_at = std::max(c.pace_at, t.w.now - kPaceBurst) + cost;
}

}  // namespace loom::tcp
