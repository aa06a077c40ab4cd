// IPv6 addresses that are made from others (RFC 4291).
#pragma once
#include <hostloom/address.h>

namespace loom {

// fe80::/64 with the modified EUI-64 of the MAC address (RFC 4291 appendix A).
inline Ip6Address link_local_of(const MacAddress& mac) noexcept {
  Ip6Address a;
  a.bytes = {0xfe,
             0x80,
             0,
             0,
             0,
             0,
             0,
             0,
             static_cast<uint8_t>(mac.bytes[0] ^ 0x02),
             mac.bytes[1],
             mac.bytes[2],
             0xff,
             0xfe,
             mac.bytes[3],
             mac.bytes[4],
             mac.bytes[5]};
  return a;
}
// ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1).
inline Ip6Address solicited_node_of(const Ip6Address& a) noexcept {
  Ip6Address m;
  m.bytes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a.bytes[13], a.bytes[14], a.bytes[15]};
  return m;
}
inline Ip6Address all_nodes() noexcept {
  Ip6Address m;
  m.bytes[0] = 0xff;
  m.bytes[1] = 0x02;
  m.bytes[15] = 0x01;
  return m;
}
// The Ethernet group of an IPv6 multicast address (RFC 2464 section 7).
inline MacAddress multicast_mac_of(const Ip6Address& a) noexcept {
  return {{0x33, 0x33, a.bytes[12], a.bytes[13], a.bytes[14], a.bytes[15]}};
}

}  // namespace loom
