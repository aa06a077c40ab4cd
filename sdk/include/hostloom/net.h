// What the IP layer (core/net/) offers transports on a worker. Found in Worker::net.
#pragma once
#include <cstring>
#include <span>

#include <hostloom/address.h>
#include <hostloom/buffer.h>
#include <hostloom/interface.h>
#include <hostloom/status.h>
#include <hostloom/wire.h>

namespace loom {

struct Worker;

// How packets to a destination leave.
struct RouteInfo {
  uint32_t adjacency = kNoIndex;  // for Buffer::adjacency: skips ip-lookup while Worker::net's
                                  // generation is unchanged
  IfIndex tx_if = kNoIndex;
  uint32_t mtu = 0;           // L3 bytes of the outgoing interface
  uint32_t caps = 0;          // InterfaceCaps of it
  bool is_local = false;      // the destination is this host
  IpAddress source;           // address to send from
  bool is_broadcast = false;  // the destination is everybody on that link. Since ABI 1.1
};
// An older plugin has room for as much.
static_assert(sizeof(RouteInfo) == 36);

// A multicast or broadcast address to send to. Since ABI 1.1.
struct GroupDestination {
  IpAddress to;
  IpAddress source;              // zero: any
  IfIndex interface = kNoIndex;  // kNoIndex: the one that has `source`, or by route
  uint32_t fib_index = 0;
};

// From whom packets to a group are wanted (RFC 3376 section 2): all but `sources`, or those alone.
struct GroupFilter {
  bool is_exclude = false;
  std::span<const IpAddress> sources;
  bool is_nobody() const noexcept { return !is_exclude && sources.empty(); }
};
constexpr std::size_t kMaxGroupSources = 64;

// In Buffer::opaque of a packet that reaches a node of add_icmp_error_handler. The data is what the
// ICMP error quotes, from its L4 header on: bytes that somebody on the path claims we sent. Check
// them (RFC 5927) before acting.
struct IcmpErrorNote {
  uint8_t type = 0;  // ICMPv4 or ICMPv6 type and code
  uint8_t code = 0;
  uint8_t is_ip6 = 0;
  // How far in front of the quoted IP header (l3_offset) the one of the ICMP packet itself begins,
  // in words of four bytes; 0: not known. Since ABI 1.1.
  uint8_t outer = 0;
  uint32_t mtu = 0;  // next-hop MTU of "fragmentation needed" and "packet too big", else 0
};
static_assert(sizeof(IcmpErrorNote) <= sizeof(Buffer::opaque));

// The host or router that says so; zero when that is not known.
inline IpAddress icmp_error_source(Buffer& b, const IcmpErrorNote& note) noexcept {
  if (note.outer == 0) return note.is_ip6 ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  const auto at = static_cast<int16_t>(b.l3_offset - note.outer * 4);
  if (note.is_ip6) return b.at<Ip6Header>(at)->src;
  return b.at<Ip4Header>(at)->src;
}

// The four bytes after the ICMP header's checksum, with which it ends: pointer, MTU and the like.
inline uint32_t icmp_error_rest(Buffer& b) noexcept {
  return *b.at<Be32>(static_cast<int16_t>(b.l3_offset - 4));
}

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

  // --- Groups. Since ABI 1.1.
  // How packets to it leave. kUnreachable: there is no such interface, or it is no group. With an
  // interface `to` may be any address: by the table's route if that leads by the interface, else as
  // one that lies on its link.
  Status (*route_group)(Worker&, const GroupDestination&, RouteInfo* out) noexcept;
  // What `socket` (a number of the caller's, unique in the host) wants to get of a group by an
  // interface, from now on: IPMulticastListen of RFC 3376 section 2. A filter of nobody ends it.
  // Packets for at least one socket are this host's, and neighbours are told (IGMP, MLD).
  // kNotFound: no such interface; kInvalid; kNoMemory: too many groups or sources.
  Status (*listen_group)(Worker&, uint64_t socket, IfIndex, const IpAddress& group,
                         const GroupFilter&) noexcept;
  // Whether somebody in this host listens there.
  bool (*hears_group)(Worker&, IfIndex, const IpAddress& group) noexcept;
};

}  // namespace loom
