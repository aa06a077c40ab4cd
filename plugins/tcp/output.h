// Making and sending segments. Everything here runs within a TcpWorker::Scope.
#pragma once
#include <span>

#include <hostloom/net.h>

#include "options.h"
#include "segment.h"
#include "tcp_worker.h"

namespace loom::tcp {

// Why a segment is sent; the output node counts by it.
enum class SegmentKind : uint8_t {
  kData,
  kAck,
  kSyn,
  kSynAck,
  kFin,
  kRst,
  kRetransmit,      // after a timeout
  kFastRetransmit,  // in fast recovery
  kProbe,           // zero window
  kKeepalive,
  kCount
};

// --- Segments of no connection (half-open, TIME-WAIT, reset): everything is said by the caller.
struct Outgoing {
  Seq seq{};
  Seq ack{};
  uint16_t window = 0;  // as on the wire
  uint8_t flags = 0;
  uint8_t tos = 0;
  uint8_t hops = 0;  // 0: kDefaultTtl
  uint16_t ip_id = 0;
  uint16_t gso_size = 0;
  SegmentKind kind = SegmentKind::kAck;
  uint32_t adjacency = kNoIndex;
  uint32_t tx_if = kNoIndex;  // kNoIndex: the link of the ends
};
// Puts TCP and IP headers before the payload in `b` and emits it. Local is the sender.
void transmit(TcpWorker&, Buffer& b, const Ends&, const Outgoing&, const Options&) noexcept;
// The same without payload, by the link of the ends also where no adjacency is given; counts and
// gives up when there is no buffer.
void transmit_empty(TcpWorker&, const Ends&, const Outgoing&, const Options&) noexcept;

// --- Segments of a connection.
// A pure acknowledgement, with SACK blocks if bytes wait out of order. Ends a delayed one.
void send_ack(TcpWorker&, Connection&) noexcept;
// SYN, or SYN-ACK in SYN-RECEIVED; also its retransmission.
void send_syn(TcpWorker&, Connection&) noexcept;
// <SEQ=SND.NXT><CTL=RST,ACK>.
void send_rst(TcpWorker&, Connection&) noexcept;
// A segment without text one below SND.UNA, which the peer must answer (RFC 9293 section 3.8.4).
void send_keepalive(TcpWorker&, Connection&) noexcept;
// One byte beyond the window, or nothing when none is queued (RFC 9293 section 3.8.6.1).
void send_window_probe(TcpWorker&, Connection&) noexcept;
// New payload in stream order, as TransportOps::push_headers gets it; FIN goes on the last when it
// is due.
void send_data(TcpWorker&, Connection&, std::span<Buffer* const>) noexcept;
// FIN as soon as everything queued has been sent; moves the state (RFC 9293 section 3.10.4).
void send_fin_if_due(TcpWorker&, Connection&) noexcept;
// Sends [from, from + length) again, FIN included where it lies in there. False: no buffers.
bool retransmit(TcpWorker&, Connection&, Seq from, uint32_t length, SegmentKind) noexcept;

// Bytes of payload that one chain may carry: a multiple of the MSS.
uint32_t chain_limit(const TcpWorker&, const Connection&) noexcept;
// How packets to the remote end leave, by the link if that is said.
Status find_route(TcpWorker&, const Ends&, RouteInfo* out) noexcept;
// Asks the IP layer when routes have changed; false when there is no route. Sets pmtu and cc.mss.
bool refresh_route(TcpWorker&, Connection&) noexcept;
// cc.mss, from pmtu and what was agreed with the peer.
void set_mss(Connection&) noexcept;
// The MSS option to send for a path of `mtu` L3 bytes.
uint16_t mss_of_mtu(uint32_t mtu, bool is_ip4) noexcept;
// Milliseconds; the timestamp clock of RFC 7323 section 5.4.
inline uint32_t timestamp_now(const TcpWorker& t, uint32_t offset) noexcept {
  return static_cast<uint32_t>(t.w.now / kMillisecond) + offset;
}

}  // namespace loom::tcp
