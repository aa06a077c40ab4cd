// From a description to bytes: lengths and checksums are worked out here.
#include <algorithm>

#include <hostloom/checksum.h>
#include <hostloom/wire.h>

#include "packet_text.h"

namespace loom::pg {
namespace {

uint32_t ip_length(const PacketText& t) {
  return !t.ip ? 0 : t.ip->src.is_ip4 ? sizeof(Ip4Header) : sizeof(Ip6Header);
}
constexpr uint32_t kIcmpHead = 4;  // type, code, checksum: the rest is described as payload
uint32_t l4_length(const PacketText& t) {
  if (!t.l4) return 0;
  switch (t.l4->protocol) {
    case kProtoTcp:
      return sizeof(TcpHeader);
    case kProtoUdp:
      return sizeof(UdpHeader);
    default:
      return kIcmpHead;
  }
}

template <class T>
void put(std::vector<uint8_t>& out, uint32_t at, const T& header) {
  std::memcpy(out.data() + at, &header, sizeof header);
}

void put_ip(std::vector<uint8_t>& out, uint32_t at, const IpText& h) {
  const auto length = static_cast<uint32_t>(out.size()) - at;
  if (h.src.is_ip4) {
    Ip4Header ip{};
    ip.version_ihl = 0x45;
    ip.tos = h.tos;
    ip.total_length = h.length.value_or(static_cast<uint16_t>(length));
    ip.ttl = h.ttl;
    ip.protocol = h.protocol;
    ip.src = h.src.ip4();
    ip.dst = h.dst.ip4();
    ip.checksum = h.checksum ? byteswap(*h.checksum) : ip4_header_checksum(ip);
    put(out, at, ip);
  } else {
    Ip6Header ip{};
    ip.version_class_flow = 6u << 28 | uint32_t{h.tos} << 20;
    ip.payload_length = h.length.value_or(static_cast<uint16_t>(length - sizeof ip));
    ip.next_header = h.protocol;
    ip.hop_limit = h.ttl;
    ip.src = h.src.ip6();
    ip.dst = h.dst.ip6();
    put(out, at, ip);
  }
}

// The header's place in `out`, where its checksum field is 0.
uint16_t l4_checksum(const std::vector<uint8_t>& out, uint32_t at, const PacketText& t) {
  const auto length = static_cast<uint32_t>(out.size()) - at;
  ChecksumSum sum = 0;
  if (t.ip && t.l4->protocol != kProtoIcmp)
    sum = t.ip->src.is_ip4
              ? pseudo_header_sum(t.ip->src.ip4(), t.ip->dst.ip4(), t.l4->protocol, length)
              : pseudo_header_sum(t.ip->src.ip6(), t.ip->dst.ip6(), t.l4->protocol, length);
  const uint16_t checksum = checksum_finish(checksum_add(sum, out.data() + at, length));
  return checksum == 0 && t.l4->protocol == kProtoUdp ? 0xffff : checksum;  // RFC 768
}

void put_l4(std::vector<uint8_t>& out, uint32_t at, const PacketText& t) {
  const L4Text& h = *t.l4;
  uint32_t checksum_at = at + 2;
  if (h.protocol == kProtoTcp) {
    TcpHeader tcp{};
    tcp.src_port = h.src_port;
    tcp.dst_port = h.dst_port;
    tcp.seq = h.seq;
    tcp.ack = h.ack;
    tcp.data_offset = 5 << 4;
    tcp.flags = h.flags;
    tcp.window = h.window;
    put(out, at, tcp);
    checksum_at = at + offsetof(TcpHeader, checksum);
  } else if (h.protocol == kProtoUdp) {
    UdpHeader udp{};
    udp.src_port = h.src_port;
    udp.dst_port = h.dst_port;
    udp.length = h.length.value_or(static_cast<uint16_t>(out.size() - at));
    put(out, at, udp);
    checksum_at = at + offsetof(UdpHeader, checksum);
  } else {
    out[at] = h.type;
    out[at + 1] = h.code;
  }
  put(out, checksum_at, h.checksum ? byteswap(*h.checksum) : l4_checksum(out, at, t));
}

}  // namespace

uint32_t PacketText::header_length() const {
  return (ethernet ? uint32_t{sizeof(EthernetHeader)} : 0u) + ip_length(*this) + l4_length(*this);
}

std::vector<uint8_t> build_packet(const PacketText& t, uint32_t length) {
  std::vector<uint8_t> out(length);
  const uint32_t ip_at = t.ethernet ? sizeof(EthernetHeader) : 0;
  const uint32_t l4_at = ip_at + ip_length(t), payload_at = t.header_length();
  const auto& payload = t.payload.bytes;
  const std::size_t n = std::min<std::size_t>(payload.size(), length - payload_at);
  std::copy_n(payload.begin(), n, out.begin() + payload_at);
  if (t.payload.is_incrementing) {
    uint8_t next = payload.empty() ? uint8_t{0} : static_cast<uint8_t>(payload.back() + 1);
    for (std::size_t at = payload_at + n; at < length; ++at) out[at] = next++;
  }
  if (t.ethernet) {
    EthernetHeader e{};
    e.src = t.ethernet->src;
    e.dst = t.ethernet->dst;
    e.type = t.ethernet->type;
    put(out, 0, e);
  }
  if (t.l4) put_l4(out, l4_at, t);
  if (t.ip) put_ip(out, ip_at, *t.ip);
  return out;
}

}  // namespace loom::pg
