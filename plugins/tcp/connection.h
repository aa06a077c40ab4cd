// One TCP connection on its worker: the transmission control block of RFC 9293 section 3.3.1, with
// the RFCs' names. It takes 448 bytes, timers and controller included; what only loss needs
// (the scoreboard) comes from a pool and goes back.
#pragma once
#include <cstddef>

#include <hostloom/congestion.h>
#include <hostloom/session.h>
#include <hostloom/timer.h>

#include "ends.h"
#include "pool.h"
#include "rtt.h"
#include "scoreboard.h"
#include "stamp.h"

namespace loom::tcp {

// Linux's numbers (TCP_INFO). LISTEN is a Listener, TIME-WAIT a TimeWait, and SYN-RECEIVED of a
// passive open a HalfOpen; here SYN-RECEIVED means a simultaneous open.
enum class State : uint8_t {
  kEstablished = 1,
  kSynSent = 2,
  kSynReceived = 3,
  kFinWait1 = 4,
  kFinWait2 = 5,
  kTimeWait = 6,
  kClosed = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kListen = 10,
  kClosing = 11,
  kFrozen = 12,  // on its way to another worker (migrate.h)
};
const char* state_name(State) noexcept;

enum class Recovery : uint8_t {
  kOpen,
  kFast,  // fast recovery until snd_una reaches `recover`
  kLoss,  // after a retransmission timeout, until snd_una reaches `recover`
};

enum class SendTimer : uint8_t { kOff, kRetransmit, kPersist };

enum ConnFlag : uint32_t {
  // Negotiated.
  kUseTimestamps = 1u << 0,
  kUseSack = 1u << 1,
  kUseWscale = 1u << 18,
  // Socket options.
  kNodelay = 1u << 2,
  kCork = 1u << 3,
  kMore = 1u << 19,  // MSG_MORE: all that is due was sent, the rest is corked
  kKeepalive = 1u << 4,
  // Closing.
  kShutdownWanted = 1u << 5,  // FIN follows the last byte of the tx fifo
  kFinSent = 1u << 6,         // FIN occupies snd_nxt - 1
  kAppClosed = 1u << 7,       // the application reads no more: data is answered by RST
  // Receiving.
  kHasOoo = 1u << 8,       // out-of-order ranges wait in the rx fifo
  kFinAhead = 1u << 9,     // FIN was seen at rcv_fin, beyond rcv_nxt
  kAckDelayed = 1u << 10,  // an acknowledgement is due by delack_deadline
  kWantsSpace = 1u << 11,  // rx_await has been asked, and rx_drained will answer
  kUnanswered = 1u << 22,  // text has come since data was sent last
  kOneLink = 1u << 21,     // what comes by another one than ends.link is for somebody else
  // Sending.
  kCwndLimited = 1u << 12,  // cwnd held data back at cwnd_limited_at
  kSynRetransmitted = 1u << 13,
  kSendAnyway = 1u << 14,  // a window too small for a segment has waited long enough
  kRescued = 1u << 20,     // this recovery has sent its rescue retransmission
  // Work for the end of the frame, see TcpWorker::Scope.
  kQueued = 1u << 15,
  kAckNow = 1u << 16,
  kDead = 1u << 17,
};

// Segments that are acknowledged at once where the peer's window is likely to be small: one that is
// in slow start grows it by each acknowledgement, and with a window of one segment it sends nothing
// before it has that. An answer of the application's ends it (send_data).
constexpr uint8_t kQuickAcks = 16;

// Private state that a controller may have without memory of its own: enough for CUBIC's.
constexpr uint32_t kSmallCcPrivate = 56;

// The state of a controller that keeps more.
struct LargeCc {
  ConnId id = kNoConn;
  CcState state{};
  static LargeCc& of(CcState& s) noexcept {
    return *reinterpret_cast<LargeCc*>(reinterpret_cast<std::byte*>(&s) - offsetof(LargeCc, state));
  }
};

// By lines of 64 bytes, from what every packet touches to what only some events do.
struct Connection {
  // Every packet: identity, and both sequence spaces.
  ConnId id = kNoConn;
  SessionId session = kNoSession;  // kNoSession: the application and its fifos are gone
  ConnId next_queued = kNoConn;    // list of connections with work at the end of the frame
  uint32_t flags = 0;              // ConnFlags
  State state = State::kClosed;
  Recovery recovery = Recovery::kOpen;
  SendTimer send_timer_kind = SendTimer::kOff;
  uint8_t backoff = 0;  // RTO is rto << backoff, until a new sample (RFC 6298 section 5.5, Karn)
  uint8_t retries = 0;  // timeouts since snd_una advanced or a shut window was confirmed (R2)
  // Shifts of windows received and sent, at most 14 (RFC 7323 section 2.3).
  uint8_t snd_wscale : 4 = 0, rcv_wscale : 4 = 0;
  uint8_t quick_acks = 0;   // segments that are still acknowledged at once
  uint8_t dupacks = 0;      // consecutive duplicate acknowledgements, saturating
  uint8_t keep_probes = 0;  // keepalive probes without an answer
  uint8_t keepcnt = 0;
  uint8_t tos = 0;
  uint8_t hops = 0;                     // of what is sent; 0: kDefaultTtl
  State frozen_state = State::kClosed;  // with kFrozen: what it was
  uint8_t frozen_for = 0;               // with kFrozen: the worker that it goes to
  uint16_t ip_id = 0;
  // Send sequence space.
  Seq snd_una;               // oldest unacknowledged
  Seq snd_nxt;               // next to be sent for the first time
  Seq snd_wl1;               // SEG.SEQ of the last window update
  Seq snd_wl2;               // SEG.ACK of the last window update
  uint32_t snd_wnd = 0;      // bytes, scaled
  uint32_t max_snd_wnd = 0;  // largest window the peer ever offered
  Seq snd_sml;               // end of the last segment below MSS (Nagle as in Minshall's draft)
  // Receive sequence space.
  Seq rcv_nxt;
  Seq rcv_adv;                         // right edge of the largest window offered; never moves back
  Seq rcv_las;                         // Last.ACK.sent (RFC 7323 section 4.3)
  uint32_t rcv_unacked = 0;            // bytes received since the last acknowledgement
  uint16_t rcv_mss = 0;                // largest segment the peer has sent, at most what we offered
  uint16_t adv_mss = 0;                // MSS option we sent
  uint32_t ts_recent = 0;              // TS.Recent
  uint32_t ts_recent_at = 0;           // when it was set, in seconds
  uint32_t ts_offset = 0;              // of our clock
  uint32_t segs_in = 0, segs_out = 0;  // for TCP_INFO
  // Times, on the worker's clock.
  Stamp last_sent;         // data; a wrong one costs or spares a restart after idle
  Stamp last_received;     // as old as keepalive lets it become, or nobody looks
  Stamp progress_at;       // snd_una advanced, or data was sent into an empty network
  Deadline send_deadline;  // of send_timer_kind
  // With kAckDelayed. With kUnanswered and quick_acks an answer is late from then on; one that
  // seems not to be, after 59 hours, costs the delay of an acknowledgement.
  Deadline delack_deadline;
  // Every acknowledgement of data: round trips, what was delivered, recovery.
  RttEstimator rtt;
  TimeNs rtt_sent = 0;           // when the timed segment was sent; 0 = none is (Karn)
  Seq rtt_seq;                   // its end
  uint32_t delivered_timed = 0;  // `delivered` when it was sent, modulo 2^32
  uint64_t delivered = 0;        // bytes acknowledged, cumulatively or selectively
  uint64_t bytes_received = 0;   // for TCP_INFO
  Scoreboard* sack = nullptr;
  Seq recover;                 // RecoveryPoint: snd_nxt when recovery began
  Seq high_rxt;                // next byte to retransmit in this recovery
  uint32_t reno_sacked = 0;    // without SACK: a segment for each duplicate acknowledgement
  uint32_t prr_delivered = 0;  // bytes delivered since recovery began (RFC 6937)
  uint32_t prr_out = 0;        // bytes sent since
  uint32_t recover_fs = 0;     // FlightSize when it began
  Seq cwnd_limited_at;         // snd_nxt when cwnd last held data back
  uint32_t total_retrans = 0;  // for TCP_INFO
  // Congestion control.
  const CcOps* cc_ops = nullptr;
  CcState* cc = cc_in_connection();  // or in a LargeCc; see controller.h
  alignas(8) std::byte small_cc[offsetof(CcState, priv) + kSmallCcPrivate]{};
  TimeNs pace_at = 0;  // not before (pacing)
  // Every segment sent: the route, good while NetOps::generation is route_generation.
  Ends ends;
  uint32_t route_generation = 0;
  uint32_t adjacency = kNoIndex;
  uint32_t tx_if = kNoIndex;
  uint16_t pmtu = 0;      // L3 bytes
  uint16_t peer_mss = 0;  // from its option, and below TCP_MAXSEG
  // What `timer` runs for: the earliest of the deadlines, or something earlier that has passed
  // (timers.cc).
  Deadline wait_deadline;  // keepalive, FIN-WAIT-2, CLOSE-WAIT
  uint32_t user_timeout_ms = 0;
  Timer timer;
  Deadline wake_deadline;  // pacing, cork: the session is visited again
  Deadline cork_until;     // when the tail that waits under a cork goes
  Stamp challenge_at;      // last challenge ACK; a wrong one may cost one
  Seq iss, irs;
  Seq rcv_fin;  // where the FIN is, with kFinAhead
  uint32_t keepidle_ms = 0, keepintvl_ms = 0;

  // Cut off behind kSmallCcPrivate bytes of `priv`: what lies beyond is not its own.
  CcState* cc_in_connection() noexcept { return reinterpret_cast<CcState*>(small_cc); }
  bool has_small_cc() const noexcept {
    return static_cast<const void*>(cc) == static_cast<const void*>(small_cc);
  }
  bool has(uint32_t flag) const noexcept { return flags & flag; }
  void set(uint32_t flag) noexcept { flags |= flag; }
  void unset(uint32_t flag) noexcept { flags &= ~flag; }
  bool is_ip4() const noexcept { return ends.local.is_ip4; }
  void set_ends(const Ends& e) noexcept {
    ends = e;
    if (e.link != kNoIndex) set(kOneLink);
  }
  bool hears_link(const Buffer& b) const noexcept {
    return !has(kOneLink) || hears(ends.link, link_of(b));
  }
  bool is_alive() const noexcept { return state != State::kClosed && state != State::kFrozen; }
  // Sequence numbers sent and not cumulatively acknowledged (FlightSize, RFC 5681), FIN included.
  uint32_t flight() const noexcept { return static_cast<uint32_t>(snd_nxt - snd_una); }
  uint32_t data_in_flight() const noexcept { return flight() - (has(kFinSent) ? 1 : 0); }
  // What the peer may still send, from what it was told.
  uint32_t rcv_wnd() const noexcept {
    return rcv_adv > rcv_nxt ? static_cast<uint32_t>(rcv_adv - rcv_nxt) : 0;
  }
  // States in which the stream towards the peer may still carry data or its retransmissions.
  bool can_send() const noexcept {
    return state == State::kEstablished || state == State::kCloseWait;
  }
};
static_assert(sizeof(Connection) <= 448);

}  // namespace loom::tcp
