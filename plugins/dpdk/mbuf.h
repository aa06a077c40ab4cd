// What an rte_mbuf says about its packet's checksums and segmentation, translated to and from a
// Buffer. Pure functions of the packet and the two descriptions.
#pragma once
#include <rte_mbuf.h>

#include <hostloom/checksum.h>
#include <hostloom/virtio_net.h>

namespace loom::dpdk {

// Where the transport's header begins in a received frame, from its first byte, and whether it is
// TCP's or UDP's; at most one VLAN tag, no IPv6 extension headers. 0: neither.
struct TransportAt {
  uint32_t offset = 0;
  uint8_t protocol = 0;
  bool is_ip6 = false;
};
inline TransportAt transport_of(const Buffer& b) noexcept {
  using namespace vnet_detail;
  TransportAt t;
  uint32_t at = 0;
  const uint16_t type = ether_type(b, &at);
  if (type == kEtherTypeIp6) {
    const auto* ip = header_at<Ip6Header>(b, at);
    if (!ip) return t;
    t.is_ip6 = true;
    t.protocol = ip->next_header;
    at += sizeof(Ip6Header);
  } else if (type == kEtherTypeIp4) {
    const auto* ip = header_at<Ip4Header>(b, at);
    if (!ip || ip->header_length() < sizeof(Ip4Header)) return t;
    t.protocol = ip->protocol;
    at += ip->header_length();
  }
  const std::size_t size = t.protocol == kProtoTcp   ? sizeof(TcpHeader)
                           : t.protocol == kProtoUdp ? sizeof(UdpHeader)
                                                     : 0;
  if (size != 0 && at + size <= b.len) t.offset = at;
  return t;
}

// Of a packet that a device has merged of segments, whose sums it has looked at: the header's is
// one segment's, or none's. Whoever cuts it again needs the pseudo-header's.
inline void unfinish_checksum(Buffer& b, const TransportAt& t) noexcept {
  using namespace vnet_detail;
  uint32_t at = 0;
  (void)ether_type(b, &at);
  const uint32_t length = b.length() - t.offset;
  ChecksumSum sum = 0;
  if (t.is_ip6) {
    const auto* ip = header_at<Ip6Header>(b, at);
    sum = pseudo_header_sum(ip->src, ip->dst, t.protocol, length);
  } else {
    const auto* ip = header_at<Ip4Header>(b, at);
    sum = pseudo_header_sum(ip->src, ip->dst, t.protocol, length);
  }
  reinterpret_cast<TcpHeader*>(b.data + t.offset)->checksum = checksum_fold(sum);
  b.flags |= kBufferL4ChecksumOk | kBufferTxTcpChecksum | (t.is_ip6 ? kBufferIsIp6 : 0u);
  b.l4_offset = static_cast<int16_t>(b.offset_of_data() + static_cast<int>(t.offset));
}

// BufferFlags of what a device has verified, by ol_flags.
inline uint32_t received_checksums(uint64_t f) noexcept {
  uint32_t flags = 0;
  if ((f & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD)
    flags |= kBufferIp4ChecksumOk;
  if ((f & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
    flags |= kBufferL4ChecksumOk;
  return flags;
}

// Sets flags and gso_size of a received packet, data at its Ethernet header. What the device
// says is believed as far as it can be true. False: it contradicts the packet.
inline bool apply_received(const rte_mbuf& m, Buffer& b) noexcept {
  const uint64_t f = m.ol_flags;
  b.flags |= received_checksums(f);
  const uint64_t l4 = f & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  const bool is_merged = f & RTE_MBUF_F_RX_LRO && m.tso_segsz != 0;
  if (l4 != RTE_MBUF_F_RX_L4_CKSUM_NONE && !is_merged) [[likely]]
    return true;
  const TransportAt t = transport_of(b);
  if (l4 ==
      RTE_MBUF_F_RX_L4_CKSUM_NONE) {  // never on a wire: the field has the pseudo-header's sum
    if (t.offset == 0) return false;
    b.flags |= kBufferL4ChecksumOk |
               (t.protocol == kProtoTcp ? kBufferTxTcpChecksum : kBufferTxUdpChecksum) |
               (t.is_ip6 ? kBufferIsIp6 : 0u);
    b.l4_offset = static_cast<int16_t>(b.offset_of_data() + static_cast<int>(t.offset));
  }
  if (!is_merged) return true;
  if (l4 == RTE_MBUF_F_RX_L4_CKSUM_BAD || t.offset == 0 || t.protocol != kProtoTcp) return false;
  const auto* tcp = vnet_detail::header_at<TcpHeader>(b, t.offset);
  const uint32_t payload_at = t.offset + tcp->header_length();
  if (tcp->header_length() < sizeof(TcpHeader) || payload_at > b.len) return false;
  if (b.length() - payload_at <= m.tso_segsz) return true;  // one segment after all
  b.gso_size = m.tso_segsz;
  if (l4 != RTE_MBUF_F_RX_L4_CKSUM_NONE) unfinish_checksum(b, t);
  return true;
}

// A one's complement sum, as it lies in a packet, without `length`, which was added to it.
inline uint16_t sum_without(uint16_t sum, uint32_t length) noexcept {
  const uint16_t there = __builtin_bswap16(static_cast<uint16_t>(length));
  uint32_t s = sum + (~uint32_t{there} & 0xffff);
  s = (s & 0xffff) + (s >> 16);
  return static_cast<uint16_t>((s & 0xffff) + (s >> 16));
}

// Whether a packet is to be sent as it is.
inline bool is_finished(const Buffer& b) noexcept {
  return !(b.flags & (kBufferTxL4Checksum | kBufferTxIp4Checksum)) && b.gso_size == 0;
}

// Fills in ol_flags and header lengths of a packet to send, and brings its checksum fields into the
// state that DPDK wants (rte_mbuf_core.h, RTE_MBUF_F_TX_TCP_SEG). False: the packet's offsets do
// not describe its headers.
inline bool describe_to_send(Buffer& b, rte_mbuf& m) noexcept {
  using namespace vnet_detail;
  m.ol_flags = 0;
  if (is_finished(b)) [[likely]]
    return true;
  // Offsets are relative to start(), which external segments do not have.
  if (b.is_external()) return false;
  if (b.gso_size != 0 && b.flags & kBufferTxUdpChecksum) return false;
  const int l3 = b.l3_offset - static_cast<int>(b.data - b.start());
  if (l3 < static_cast<int>(sizeof(EthernetHeader)) || l3 > 127) return false;
  const bool is_ip6 = b.flags & kBufferIsIp6;
  const uint32_t least = is_ip6 ? sizeof(Ip6Header) : sizeof(Ip4Header);
  if (static_cast<uint32_t>(l3) + least > b.len) return false;
  m.tx_offload = 0;
  m.l2_len = static_cast<uint64_t>(l3) & 127;
  m.ol_flags = is_ip6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
  auto* ip4 = reinterpret_cast<Ip4Header*>(b.data + l3);
  const bool is_tcp = b.gso_size != 0 || b.flags & kBufferTxTcpChecksum;
  if (b.flags & kBufferTxL4Checksum || b.gso_size != 0) {
    const int l4 = b.l4_offset - static_cast<int>(b.data - b.start());
    const uint32_t size = is_tcp ? sizeof(TcpHeader) : sizeof(UdpHeader);
    if (l4 < l3 + static_cast<int>(least) || l4 - l3 > 511 ||
        static_cast<uint32_t>(l4) + size > b.len)
      return false;
    m.l3_len = static_cast<uint64_t>(l4 - l3) & 511;
    m.ol_flags |= is_tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
    if (is_tcp) {
      auto* tcp = reinterpret_cast<TcpHeader*>(b.data + l4);
      const uint32_t headers = static_cast<uint32_t>(l4) + tcp->header_length();
      if (tcp->header_length() < sizeof(TcpHeader) || headers > b.len) return false;
      m.l4_len = tcp->header_length();
      if (b.gso_size != 0 && b.length() - headers > b.gso_size) {
        m.ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
        m.tso_segsz = b.gso_size;
        // Each segment has a length of its own: the sum is to be without one.
        tcp->checksum = sum_without(tcp->checksum, b.length() - static_cast<uint32_t>(l4));
      }
    }
  } else {
    const uint32_t ip_size = is_ip6 ? sizeof(Ip6Header) : ip4->header_length();
    m.l3_len = ip_size & 511;
  }
  const bool is_cut = m.ol_flags & RTE_MBUF_F_TX_TCP_SEG;
  if (!is_ip6 && (b.flags & kBufferTxIp4Checksum || is_cut)) {
    m.ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
    ip4->checksum = 0;
  }
  return true;
}

}  // namespace loom::dpdk
