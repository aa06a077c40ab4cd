// Datagrams between a transport of TxKind::kDatagram and the session layer. Since ABI 1.1.
//
// A datagram session has two fifos as every session has. In each of them a header with the fields
// of struct Datagram stands before each datagram, so that boundaries are kept. The session layer
// writes and reads those headers; the transport sees a Datagram beside a chain of payload.
#pragma once
#include <hostloom/interface.h>
#include <hostloom/session.h>

namespace loom {

// Bytes of payload: what a UDP datagram over IPv6 can carry (RFC 768: 16 bits, with 8 of header).
constexpr uint32_t kMaxDatagramBytes = 65'527;

enum DatagramFlags : uint32_t {
  kDatagramRemote = 1u << 0,  // to send: `ends` names the destination; else it is the peer
  kDatagramLocal = 1u << 1,   // to send: `ends.local` is the source to use, this host's
  kDatagramTos = 1u << 2,     // `tos` says the IPv4 TOS or IPv6 traffic class byte
  kDatagramTtl = 1u << 3,     // `ttl` says the IPv4 TTL or IPv6 hop limit
  // To send, with kDatagramRemote: by `interface`, also where the routing table leads elsewhere.
  kDatagramInterface = 1u << 4,
  // To send, with kDatagramLocal: to a group by the interface that has `ends.local`. The source is
  // the address that the socket is bound to; that one if it is bound to none.
  kDatagramLocalInterface = 1u << 5,
  kDatagramNoChecksum = 1u << 6,  // to send, over IPv6 and not in several: without one (RFC 6935)
  kDatagramWhole = 1u << 7,       // to send, over IPv6: not in fragments (IPV6_DONTFRAG)
};

struct Datagram {
  Endpoints ends;                 // local: this host's end, of received ones too
  uint32_t flags = 0;             // DatagramFlags
  uint32_t interface = kNoIndex;  // received: by which it came; to send: kDatagramInterface
  uint8_t tos = 0, ttl = 0;
  // Received: these are several, of so many bytes each, the last one perhaps fewer; 0: it is one.
  uint16_t segment = 0;
  uint64_t reserved2[3] = {};  // 0; a later version may use them
};

// What a socket asks of a group (man 7 ip, RFC 3678): its membership, or a source in it.
enum class GroupOp : uint8_t {
  kJoin,
  kLeave,
  kJoinSource,
  kLeaveSource,
  kBlockSource,
  kUnblockSource,
  // All sources at once. Each is given by a kAddFilter of its own, from number 0 on; then one of
  // the other two says how many there are, and what for: alone (none: it leaves), or all but those.
  kAddFilter,
  kInclude,
  kExclude,
  kReadFilter,  // fills in `filter`, with the source of that number if there is one
};
struct GroupFilterRow {
  bool is_exclude = false;
  uint32_t n_sources = 0;
  IpAddress source;
};
struct GroupRequest {
  GroupOp op = GroupOp::kJoin;
  IfIndex interface = kNoIndex;  // kNoIndex: that of `address`, or by route
  IpAddress group, source, address;
  uint32_t fib_index = 0;
  uint32_t number = 0;
  GroupFilterRow* filter = nullptr;
};

// An error of a datagram that was sent, as IP_RECVERR has it (man 7 ip).
struct DatagramError {
  Endpoints ends;              // of the datagram: this host's, and where it went
  IpAddress offender;          // who says so; zero: this host, or not known
  uint16_t error = 0;          // errno
  uint8_t origin = 0;          // Linux's SO_EE_ORIGIN_*: 1 this host, 2 ICMP, 3 ICMPv6
  uint8_t type = 0, code = 0;  // of ICMP
  uint32_t info = 0;           // the MTU with EMSGSIZE; ICMP's pointer; ICMPv6's word
  // Of ICMP's packet: where it went, by which interface it came (kNoIndex: by none), and its marks.
  IpAddress to;
  IfIndex interface = kNoIndex;
  uint8_t tos = 0, ttl = 0;
};

}  // namespace loom
