// What stands for a connection while it is cheaper than one: listeners, half-open connections of a
// passive open, and TIME-WAIT. A SYN flood or a busy client costs these, not connections or fifos.
#pragma once
#include <hostloom/session.h>
#include <hostloom/timer.h>

#include "ends.h"
#include "pool.h"
#include "stamp.h"

namespace loom::tcp {

struct Listener {
  ConnId id = kNoConn;
  SessionId session = kNoSession;
  uint32_t n_half_open = 0;
  ConnId half_open = kNoConn;  // head of its list
  SocketOptionsView options;   // `congestion` points at cc_name
  char cc_name[16] = {};
};

// SYN-RECEIVED of a passive open (RFC 9293 section 3.10.7.4). No fifo, no controller, no estimator.
struct HalfOpen {
  ConnId id = kNoConn;
  ConnId listener = kNoConn;
  ConnId next = kNoConn, prev = kNoConn;  // list of the listener
  Ends ends;
  Seq irs, iss;
  uint32_t ts_recent = 0, ts_offset = 0;
  uint16_t peer_mss = 0;  // from its SYN, or 536
  uint16_t peer_wnd = 0;  // of its SYN, unscaled
  uint16_t adv_mss = 0;
  // The route, as in the connection that it becomes.
  uint16_t pmtu = 0;
  uint32_t route_generation = 0;
  uint32_t adjacency = kNoIndex, tx_if = kNoIndex;
  uint8_t snd_wscale = 0, rcv_wscale = 0;
  uint8_t attempts = 0;  // SYN-ACKs that were retransmitted
  bool use_timestamps = false, use_sack = false, use_wscale = false;
  TimeNs started = 0;  // when the first SYN-ACK was sent
  Stamp challenge_at;  // last answer to what an honest peer would not send
  Timer timer;         // retransmission of the SYN-ACK
};

// TIME-WAIT (RFC 9293 section 3.6.1): answers what comes late, for 2 MSL.
struct TimeWait {
  ConnId id = kNoConn;
  Ends ends;
  Seq snd_nxt, rcv_nxt;
  uint16_t window = 0;  // as on the wire
  uint32_t ts_recent = 0, ts_offset = 0;
  bool use_timestamps = false;
  Stamp challenge_at;  // last answer to an empty segment
  Timer timer;
};

}  // namespace loom::tcp
