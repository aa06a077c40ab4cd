// What icmp4-error and icmp6-error share: the way back to the offending packet's IP header, and the
// ICMP message around what is quoted of it.
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
