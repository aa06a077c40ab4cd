// Datagrams between a transport of TxKind::kDatagram and the session layer. Since ABI 1.1.
//
// A datagram session has two fifos as every session has. In each of them a header with the fields
// of struct Datagram stands before each datagram, so that boundaries are kept. The session layer
// writes and reads those headers; the transport sees a Datagram beside a chain of payload.
#pragma once
#include <hostloom/session.h>

namespace loom {

// Bytes of payload: what a UDP datagram over IPv6 can carry (RFC 768: 16 bits, with 8 of header).
constexpr uint32_t kMaxDatagramBytes = 65'527;

enum DatagramFlags : uint32_t {
  kDatagramRemote = 1u << 0,  // to send: `ends` names the destination; else it is the peer
  kDatagramLocal = 1u << 1,   // to send: `ends.local` is the source to use, this host's
  kDatagramTos = 1u << 2,     // `tos` says the IPv4 TOS or IPv6 traffic class byte
  kDatagramTtl = 1u << 3,     // `ttl` says the IPv4 TTL or IPv6 hop limit
};

struct Datagram {
  Endpoints ends;                 // local: this host's end, of received ones too
  uint32_t flags = 0;             // DatagramFlags
  uint32_t interface = kNoIndex;  // received: by which it came
  uint8_t tos = 0, ttl = 0;
  uint16_t reserved = 0;
  uint64_t reserved2[3] = {};  // 0; a later version may use them
};

}  // namespace loom
