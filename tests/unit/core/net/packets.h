// Packets byte by byte, and what to expect of them. Deliberately shares nothing with the code under
// test: its own header writers, and the plainest checksum there is (RFC 1071 section 4.1).
#pragma once
#include <arpa/inet.h>

#include <cstdint>
#include <string>
#include <vector>

namespace loom {

using Bytes = std::vector<uint8_t>;

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
inline void put16(Bytes& b, std::size_t at, uint32_t v) {
  b[at] = static_cast<uint8_t>(v >> 8);
  b[at + 1] = static_cast<uint8_t>(v);
}
inline void put32(Bytes& b, std::size_t at, uint32_t v) {
  put16(b, at, v >> 16);
  put16(b, at + 2, v & 0xffff);
}
inline uint32_t get16(const Bytes& b, std::size_t at) { return b.at(at) << 8 | b.at(at + 1); }
inline uint32_t get32(const Bytes& b, std::size_t at) {
  return get16(b, at) << 16 | get16(b, at + 2);
}
inline Bytes part(const Bytes& b, std::size_t at, std::size_t n = ~std::size_t{0}) {
  if (at >= b.size()) return {};
  return Bytes(b.begin() + static_cast<long>(at),
               b.begin() + static_cast<long>(at + std::min(n, b.size() - at)));
}

inline uint16_t plain_sum(const Bytes& b) {
  uint64_t sum = 0;
  for (std::size_t i = 0; i < b.size(); ++i) sum += uint64_t{b[i]} << (i % 2 ? 0 : 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}
inline uint16_t plain_checksum(const Bytes& b) { return static_cast<uint16_t>(~plain_sum(b)); }

inline Bytes mac(const std::string& text) {  // "02:00:00:00:00:01"
  Bytes b;
  for (std::size_t i = 0; i < 6; ++i)
    b.push_back(static_cast<uint8_t>(std::stoul(text.substr(i * 3, 2), nullptr, 16)));
  return b;
}
inline Bytes ip4(const std::string& text) {
  Bytes b(4);
  inet_pton(AF_INET, text.c_str(), b.data());
  return b;
}
inline Bytes ip6(const std::string& text) {
  Bytes b(16);
  inet_pton(AF_INET6, text.c_str(), b.data());
  return b;
}
inline Bytes counting(std::size_t n) {
  Bytes b(n);
  for (std::size_t i = 0; i < n; ++i) b[i] = static_cast<uint8_t>(i * 7 + (i >> 8));
  return b;
}

inline Bytes ethernet(const std::string& dst, const std::string& src, uint16_t type,
                      const Bytes& payload) {
  Bytes h =
      mac(dst) + mac(src) + Bytes{static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type)};
  return h + payload;
}

struct Ip4 {
  std::string src{}, dst{};
  uint8_t protocol = 1, ttl = 64, tos = 0;
  uint16_t id = 0x1234, flags_fragment = 0;
  Bytes options{};
};
inline Bytes make_ip4(const Ip4& h, const Bytes& payload) {
  Bytes b(20);
  b[0] = static_cast<uint8_t>(0x40 | ((20 + h.options.size()) / 4));
  b[1] = h.tos;
  put16(b, 2, static_cast<uint32_t>(20 + h.options.size() + payload.size()));
  put16(b, 4, h.id);
  put16(b, 6, h.flags_fragment);
  b[8] = h.ttl;
  b[9] = h.protocol;
  const Bytes src = ip4(h.src), dst = ip4(h.dst);
  std::copy(src.begin(), src.end(), b.begin() + 12);
  std::copy(dst.begin(), dst.end(), b.begin() + 16);
  b = b + h.options;
  put16(b, 10, plain_checksum(b));
  return b + payload;
}
struct Ip6 {
  std::string src{}, dst{};
  uint8_t next_header = 58, hop_limit = 64;
};
inline Bytes make_ip6(const Ip6& h, const Bytes& payload) {
  Bytes b(8);
  b[0] = 0x60;
  put16(b, 4, static_cast<uint32_t>(payload.size()));
  b[6] = h.next_header;
  b[7] = h.hop_limit;
  return b + ip6(h.src) + ip6(h.dst) + payload;
}
// The pseudo-header, of addresses as they are in the packet.
inline Bytes pseudo(const Bytes& src, const Bytes& dst, uint8_t protocol, std::size_t length) {
  Bytes b(src.size() == 4 ? 4 : 8);
  if (src.size() == 4) {
    b[1] = protocol;
    put16(b, 2, static_cast<uint32_t>(length));
  } else {
    put32(b, 0, static_cast<uint32_t>(length));
    b[7] = protocol;
  }
  return src + dst + b;
}

inline Bytes make_icmp4(uint8_t type, uint8_t code, uint32_t rest, const Bytes& payload) {
  Bytes b(8);
  b[0] = type;
  b[1] = code;
  put32(b, 4, rest);
  b = b + payload;
  put16(b, 2, plain_checksum(b));
  return b;
}
inline Bytes make_icmp6(const std::string& src, const std::string& dst, uint8_t type, uint8_t code,
                        uint32_t rest, const Bytes& payload) {
  Bytes b(8);
  b[0] = type;
  b[1] = code;
  put32(b, 4, rest);
  b = b + payload;
  put16(b, 2, plain_checksum(pseudo(ip6(src), ip6(dst), 58, b.size()) + b));
  return b;
}
inline Bytes make_udp(const Bytes& src, const Bytes& dst, uint16_t src_port, uint16_t dst_port,
                      const Bytes& payload) {
  Bytes b(8);
  put16(b, 0, src_port);
  put16(b, 2, dst_port);
  put16(b, 4, static_cast<uint32_t>(8 + payload.size()));
  b = b + payload;
  const uint16_t sum = plain_checksum(pseudo(src, dst, 17, b.size()) + b);
  put16(b, 6, sum ? sum : 0xffff);
  return b;
}
inline Bytes make_arp(uint16_t operation, const std::string& sender_mac,
                      const std::string& sender_ip, const std::string& target_mac,
                      const std::string& target_ip) {
  Bytes b = {0, 1, 8, 0, 6, 4, 0, static_cast<uint8_t>(operation)};
  return b + mac(sender_mac) + ip4(sender_ip) + mac(target_mac) + ip4(target_ip);
}

// True when the packet's IPv4 header checksum, and the ICMP, TCP or UDP checksum behind it, hold.
inline bool checksums_hold(const Bytes& packet) {
  const bool is_ip4 = packet.at(0) >> 4 == 4;
  const std::size_t header = is_ip4 ? (packet[0] & 15u) * 4u : 40;
  if (is_ip4 && plain_sum(part(packet, 0, header)) != 0xffff) return false;
  const uint8_t protocol = is_ip4 ? packet.at(9) : packet.at(6);
  const Bytes l4 = part(packet, header);
  if (protocol == 1) return plain_sum(l4) == 0xffff;
  const Bytes src = is_ip4 ? part(packet, 12, 4) : part(packet, 8, 16);
  const Bytes dst = is_ip4 ? part(packet, 16, 4) : part(packet, 24, 16);
  return plain_sum(pseudo(src, dst, protocol, l4.size()) + l4) == 0xffff;
}

}  // namespace loom
