// A connection's timers. Deadlines live in the connection and move with every acknowledgement; the
// one timer in the wheel runs for the earliest of them, is left running when that moves on and,
// when it fires early, waits for the rest. So the data path touches the wheel about once per
// timeout, not once per segment.
#pragma once
#include "tcp_worker.h"

namespace loom::tcp {

void init_timers(Connection&) noexcept;
void stop_timers(TcpWorker&, Connection&) noexcept;
// Starts the wheel's timer for the earliest deadline that the connection has: it has come from
// another worker, or its timer was stopped and nothing else.
void resume_timers(TcpWorker&, Connection&) noexcept;

// The retransmission timer (RFC 6298 section 5): started anew, started if it is off, off.
void arm_rto(TcpWorker&, Connection&) noexcept;
void arm_rto_if_off(TcpWorker&, Connection&) noexcept;
void disarm_send_timer(Connection&) noexcept;
// The persist timer (RFC 9293 section 3.8.6.1), with the same back-off; unless it runs.
void arm_persist_if_off(TcpWorker&, Connection&) noexcept;

// An acknowledgement within the delay (RFC 9293 section 3.8.6.3): half a round trip, within
// 200 us and tcp { max-delack-ms }.
void arm_delack(TcpWorker&, Connection&) noexcept;
TimeNs delack_time(const TcpWorker&, const Connection&) noexcept;

// What the state waits for: keepalive in open states, the end of FIN-WAIT-2 and CLOSE-WAIT.
void arm_wait_timer(TcpWorker&, Connection&) noexcept;

// Accounts `bytes` sent against the controller's pacing rate.
void pace(TcpWorker&, Connection&, uint32_t bytes) noexcept;
// Visits the session again at `when` (pacing, cork).
void wake_sender_at(TcpWorker&, Connection&, Deadline when) noexcept;

}  // namespace loom::tcp
