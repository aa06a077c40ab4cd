// What the IP layer (core/net/) offers transports on a worker. Found in Worker::net.
#pragma once
#include <hostloom/address.h>
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
