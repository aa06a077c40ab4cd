// What the ICMP nodes share: who is not answered, the way back to an offending packet's IP header,
// and the ICMP message around what is quoted of it.
#pragma once
#include "net/ip/trim.h"
#include "net/state.h"

namespace loom {

// Puts data back at the IP header, where l3_offset says. False when the bytes in front may not be
// written, or there is no such place.
inline bool back_to_ip_header(Buffer& b) noexcept {
  const int back = b.offset_of_data() - b.l3_offset;
  if (b.is_external() || back < 0) return false;
  b.prepend(static_cast<uint32_t>(back));
  return true;
}

// 255.255.255.255, or the broadcast address of a subnet of this host's. A lookup: for slow ways
// only.
inline bool is_broadcast(const NetState& net, const Ip4Address& a, uint32_t fib_index) noexcept {
  const uint32_t adjacency = net.routes.lookup(IpAddress(a), fib_index);
  return a.is_broadcast() || net.adjacencies.read(adjacency).kind == AdjacencyKind::kBroadcast;
}

// Turns the offending packet, data at its IP header, into an ICMP message that quotes at most
// `most` bytes of it. The checksum is 0; the packet belongs to no interface and has no flags yet.
inline IcmpHeader& quote(Worker& w, Buffer& b, const IcmpErrorRequest& request,
                         uint32_t most) noexcept {
  trim_packet(w, b, std::min(b.len, most));  // the first segment has enough
  b.flags &= kBufferTraced;
  b.gso_size = 0;
  b.adjacency = b.tx_if = kNoIndex;
  auto& icmp = *b.prepend<IcmpHeader>();
  icmp = {.type = request.type, .code = request.code, .checksum = 0, .rest = request.rest};
  return icmp;
}

}  // namespace loom
