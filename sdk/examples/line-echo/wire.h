// What a packet of the line protocol looks like: an IPv4 packet of protocol kIpProtocol with this
// header and, for kData, text behind it.
//
// The protocol is stop-and-wait. Each side numbers what it sends (open, data, close), modulo 256,
// and sends a number again until the other side has acknowledged it. A connection's first number
// is 0, the open; the side that accepts it starts with 1.
#pragma once
#include <hostloom/types.h>

namespace line_echo {

constexpr uint8_t kIpProtocol = 253;      // for experiments (RFC 3692)
constexpr uint8_t kTransportProto = 200;  // what applications ask vppcom_session_create for

enum Kind : uint8_t {
  kOpen = 1,   // sequence 0: please accept a connection
  kData = 2,   // text
  kClose = 3,  // no text follows
  kAck = 4,    // of the packet with that sequence number
  kBusy = 5,   // it came, but there is no room for it: send it again later
  kReset =
      6,  // there is no such connection, or not any more (a close is acknowledged all the same)
};

struct Header {
  loom::Be16 src_port;
  loom::Be16 dst_port;
  uint8_t kind;
  uint8_t sequence;
  [[gnu::packed]] uint16_t checksum;  // with the pseudo-header, as UDP's (RFC 768); in memory order
};
static_assert(sizeof(Header) == 8 && alignof(Header) == 1);

}  // namespace line_echo
