// What the IP layer (core/net/) offers transports on a worker. Found in Worker::net.
#pragma once
#include <cstring>

#include <hostloom/address.h>
#include <hostloom/buffer.h>
#include <hostloom/interface.h>
#include <hostloom/status.h>

namespace loom {

struct Worker;

// How packets to a destination leave.
struct RouteInfo {
  uint32_t adjacency = kNoIndex;  // for Buffer::adjacency: skips ip-lookup while Worker::net's
                                  // generation is unchanged
  IfIndex tx_if = kNoIndex;
  uint32_t mtu = 0;       // L3 bytes of the outgoing interface
  uint32_t caps = 0;      // InterfaceCaps of it
  bool is_local = false;  // the destination is this host
  IpAddress source;       // address to send from
};

// In Buffer::opaque of a packet that reaches a node of add_icmp_error_handler. The data is what the
// ICMP error quotes, from its L4 header on: bytes that somebody on the path claims we sent. Check
// them (RFC 5927) before acting.
struct IcmpErrorNote {
  uint8_t type = 0;  // ICMPv4 or ICMPv6 type and code
  uint8_t code = 0;
  uint8_t is_ip6 = 0;
  uint8_t reserved = 0;
  uint32_t mtu = 0;  // next-hop MTU of "fragmentation needed" and "packet too big", else 0
};
static_assert(sizeof(IcmpErrorNote) <= sizeof(Buffer::opaque));

// Asks node "icmp4-error" or "icmp6-error" for an ICMP error about a packet that is handed to it,
// l3_offset at its IP header. `rest`: the four bytes after the checksum (next-hop MTU, pointer).
struct IcmpErrorRequest {
  uint8_t type = 0;
  uint8_t code = 0;
  uint16_t reserved = 0;
  uint32_t rest = 0;
};
inline void request_icmp_error(Buffer& b, uint8_t type, uint8_t code, uint32_t rest = 0) noexcept {
  const IcmpErrorRequest request{.type = type, .code = code, .rest = rest};
  std::memcpy(b.opaque, &request, sizeof request);
}

struct NetOps {
  uint32_t struct_size;
  // kUnreachable: no route, or no address of that family on the way out.
  Status (*route)(Worker&, const IpAddress& destination, uint32_t fib_index,
                  RouteInfo* out) noexcept;
  // True when the address is one of this host's in that table.
  bool (*is_local)(Worker&, const IpAddress&, uint32_t fib_index) noexcept;
  // Changes whenever a route, address, neighbour or interface changes: a cached RouteInfo is good
  // while it is the same.
  const uint32_t* generation;
};

}  // namespace loom
