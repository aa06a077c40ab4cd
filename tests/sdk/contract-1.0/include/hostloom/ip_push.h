// Puts an IP header in front of a transport's segment that this host sends. Sets l3_offset,
// l4_offset and l4_protocol, marks the packet as locally originated, and computes the IPv4 header
// checksum at once (20 bytes that are in the cache anyway). The chain must not exceed 65535 bytes
// with its headers; the L4 header is the first byte of the chain.
#pragma once
#include <hostloom/buffer.h>
#include <hostloom/checksum.h>
#include <hostloom/wire.h>

namespace loom {

constexpr uint8_t kDefaultTtl = 64;  // RFC 1700, and the hop limit of RFC 4861 hosts

// id: of an unfragmented datagram, any value will do (RFC 6864 section 4.1); DF is always set.
inline Ip4Header& push_ip4_header(Buffer& b, const Ip4Address& src, const Ip4Address& dst,
                                  uint8_t protocol, uint8_t tos, uint16_t id,
                                  uint8_t ttl = kDefaultTtl) noexcept {
  b.l4_offset = b.offset_of_data();
  b.l4_protocol = protocol;
  auto& ip = *b.prepend<Ip4Header>();
  b.l3_offset = b.offset_of_data();
  b.flags |= kBufferLocallyOriginated;
  ip.version_ihl = 0x45;
  ip.tos = tos;
  ip.total_length = static_cast<uint16_t>(b.length());
  ip.id = id;
  ip.flags_fragment = kIp4DontFragment;
  ip.ttl = ttl;
  ip.protocol = protocol;
  ip.checksum = 0;
  ip.src = src;
  ip.dst = dst;
  ip.checksum = ip4_header_checksum(ip);
  return ip;
}

inline Ip6Header& push_ip6_header(Buffer& b, const Ip6Address& src, const Ip6Address& dst,
                                  uint8_t protocol, uint8_t traffic_class, uint32_t flow_label,
                                  uint8_t hop_limit = kDefaultTtl) noexcept {
  const auto payload = static_cast<uint16_t>(b.length());
  b.l4_offset = b.offset_of_data();
  b.l4_protocol = protocol;
  auto& ip = *b.prepend<Ip6Header>();
  b.l3_offset = b.offset_of_data();
  b.flags |= kBufferLocallyOriginated | kBufferIsIp6;
  ip.version_class_flow = (6u << 28) | (uint32_t{traffic_class} << 20) | (flow_label & 0xfffffu);
  ip.payload_length = payload;
  ip.next_header = protocol;
  ip.hop_limit = hop_limit;
  ip.src = src;
  ip.dst = dst;
  return ip;
}

}  // namespace loom
