// Finding loss and repairing it: RFC 5681 section 3.2 and 4.3, RFC 6675 with SACK, RFC 6582
// without, limited transmit (RFC 3042), and Proportional Rate Reduction (RFC 6937) for how much to
// send meanwhile. Everything here runs within a TcpWorker::Scope.
//
// One accounting serves all: pipe(), the bytes that are still in the network. Without SACK each
// duplicate acknowledgement stands for one segment that left it.
#pragma once
#include "tcp_worker.h"

namespace loom::tcp {

// What one acceptable acknowledgement says, for detection and for the controller.
struct AckEvent {
  uint32_t acked = 0;         // sequence numbers, cumulatively
  uint32_t delivered = 0;     // bytes that left the network: cumulative and SACKed, once each
  uint32_t prior_pipe = 0;    // pipe() before
  bool is_duplicate = false;  // RFC 5681 section 2
};

uint32_t pipe(const Connection&) noexcept;
// Bytes that the congestion window has room for.
inline uint32_t cwnd_room(const Connection& c) noexcept {
  const uint32_t p = pipe(c);
  return c.cc->cwnd > p ? c.cc->cwnd - p : 0;
}

// snd_una and scoreboard have moved: enters, goes on with, or leaves recovery. Returns the bytes to
// retransmit even if cwnd has no room for them.
uint32_t detect_loss(TcpWorker&, Connection&, const AckEvent&) noexcept;
// Retransmits what is lost while cwnd has room, and at least `least` bytes. After the controller
// has seen the acknowledgement.
void retransmit_lost(TcpWorker&, Connection&, uint32_t least) noexcept;
// NextSeg's last resorts, in fast recovery with SACK and only when there is nothing new that the
// peer's window would take: what lies below a SACKed byte but is not lost by count (rule 3), and,
// once in a recovery, the end of what is outstanding (rule 4), which no SACK can show to be lost.
// Within cwnd, so after retransmit_lost and after new data.
void retransmit_early(TcpWorker&, Connection&) noexcept;
// Retransmits the first segment and begins again in slow start (RFC 5681 section 3.1).
void on_retransmission_timeout(TcpWorker&, Connection&) noexcept;

}  // namespace loom::tcp
