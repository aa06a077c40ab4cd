// The virtio-net header that travels in front of each packet between the kernel and us
// (virtio 1.2 section 5.1.6, in the kernel's short form without num_buffers): what it says about
// checksum and segmentation, translated to and from a Buffer. Pure functions of header and packet.
#pragma once
#include <cstddef>
#include <cstring>

#include <hostloom/buffer.h>
#include <hostloom/checksum.h>
#include <hostloom/wire.h>

namespace loom {

// Declared here because linux/virtio_net.h is not C++. Little-endian, like us.
struct VnetHeader {
  uint8_t flags = 0;         // kVnetNeedsChecksum, kVnetDataValid
  uint8_t gso_type = 0;      // kVnetGso*
  uint16_t hdr_len = 0;      // bytes of headers in front of the payload to segment; a hint
  uint16_t gso_size = 0;     // payload bytes per segment
  uint16_t csum_start = 0;   // where to begin summing, from the start of the Ethernet header
  uint16_t csum_offset = 0;  // where the sum goes, from csum_start
};
constexpr uint32_t kVnetSize = sizeof(VnetHeader);
static_assert(kVnetSize == 10);
constexpr uint8_t kVnetNeedsChecksum = 1, kVnetDataValid = 2;
constexpr uint8_t kVnetGsoNone = 0, kVnetGsoTcp4 = 1, kVnetGsoTcp6 = 4, kVnetGsoUdp = 5,
                  kVnetGsoEcn = 0x80;
// Virtio 1.4: in segments of a packet inside a UDP tunnel, by the tunnel's family. Never asked for.
constexpr uint8_t kVnetGsoUdpTunnel = 0x20 | 0x40;

// What a received header is found to be.
enum class VnetVerdict : uint8_t {
  kGood,
  kMalformed,    // header and packet contradict each other
  kUnsupported,  // segments of a packet that is inside another: VXLAN, GRE, IP in IP, ...
};

namespace vnet_detail {

constexpr uint16_t kTcpChecksumOffset = offsetof(TcpHeader, checksum);
constexpr uint16_t kUdpChecksumOffset = offsetof(UdpHeader, checksum);

// A header of type T at an offset of the first segment, or nullptr. The kernel places Ethernet
// headers so that what follows is aligned as the header structs want it.
template <class T>
const T* header_at(const Buffer& b, uint32_t offset) noexcept {
  return b.len >= offset + sizeof(T) ? reinterpret_cast<const T*>(b.data + offset) : nullptr;
}

// The type behind at most one VLAN tag, and where the network header begins; 0: too short.
inline uint16_t ether_type(const Buffer& b, uint32_t* network_at = nullptr) noexcept {
  const auto* eth = header_at<EthernetHeader>(b, 0);
  if (!eth) return 0;
  const auto* tag =
      eth->type == kEtherTypeVlan ? header_at<VlanTag>(b, sizeof(EthernetHeader)) : nullptr;
  if (network_at) *network_at = sizeof(EthernetHeader) + (tag ? sizeof(VlanTag) : 0);
  return tag ? tag->type : eth->type;
}

// The outermost headers of a frame. IPv6 extension headers are not looked through: the kernel never
// segments behind one.
struct Outermost {
  uint16_t family = 0;   // EtherType
  uint8_t protocol = 0;  // what follows the IP header
  uint32_t l4_at = 0;    // where; 0: its IP header is not sound, or it is not IP
};
inline Outermost outermost_of(const Buffer& b) noexcept {
  uint32_t at = 0;
  Outermost o;
  o.family = ether_type(b, &at);
  if (o.family == kEtherTypeIp6) {
    const auto* ip = header_at<Ip6Header>(b, at);
    if (ip) o.protocol = ip->next_header, o.l4_at = at + sizeof(Ip6Header);
  } else if (o.family == kEtherTypeIp4) {
    const auto* ip = header_at<Ip4Header>(b, at);
    if (ip && ip->header_length() >= sizeof(Ip4Header))
      o.protocol = ip->protocol, o.l4_at = at + ip->header_length();
  }
  return o;
}

// Whether there may be a packet inside it.
inline bool may_be_a_tunnel(const Outermost& o) noexcept {
  const bool is_ip = o.family == kEtherTypeIp4 || o.family == kEtherTypeIp6;
  return is_ip ? o.l4_at != 0 && o.protocol != kProtoTcp : o.family != 0;
}

// Where the payload of the outermost TCP or UDP begins; 0: the first segment does not hold its
// header.
inline uint32_t payload_offset(const Buffer& b, const Outermost& o) noexcept {
  uint32_t size = sizeof(UdpHeader);
  if (o.protocol == kProtoTcp) {
    const auto* tcp = header_at<TcpHeader>(b, o.l4_at);
    if (!tcp || tcp->header_length() < sizeof(TcpHeader)) return 0;
    size = tcp->header_length();
  }
  return o.l4_at + size <= b.len ? o.l4_at + size : 0;
}

// What a packet with an unfinished checksum needs if it leaves by another interface. Delivered here
// it needs nothing: the data never was on a wire.
inline void note_unfinished_checksum(const VnetHeader& h, Buffer& b) noexcept {
  if (h.csum_offset == kTcpChecksumOffset)
    b.flags |= kBufferTxTcpChecksum;
  else if (h.csum_offset == kUdpChecksumOffset)
    b.flags |= kBufferTxUdpChecksum;
  else
    return;
  b.l4_offset = static_cast<int16_t>(b.offset_of_data() + h.csum_start);
  if (ether_type(b) == kEtherTypeIp6) b.flags |= kBufferIsIp6;
}

// A large packet whose checksums the device has verified (LRO) has none of its own: it becomes one
// with an unfinished checksum, so that it can leave by another interface.
inline void unfinish_checksum(Buffer& b, const Outermost& o) noexcept {
  const bool is_udp = o.protocol == kProtoUdp;
  const uint32_t length = b.length() - o.l4_at;
  ChecksumSum sum;
  if (o.family == kEtherTypeIp6) {
    const auto* ip = reinterpret_cast<const Ip6Header*>(b.data + o.l4_at - sizeof(Ip6Header));
    sum = pseudo_header_sum(ip->src, ip->dst, o.protocol, length);
  } else {
    uint32_t at = 0;
    (void)ether_type(b, &at);
    const auto* ip = reinterpret_cast<const Ip4Header*>(b.data + at);
    sum = pseudo_header_sum(ip->src, ip->dst, o.protocol, length);
  }
  VnetHeader h;
  h.csum_start = static_cast<uint16_t>(o.l4_at);
  h.csum_offset = is_udp ? kUdpChecksumOffset : kTcpChecksumOffset;
  const uint16_t pseudo = checksum_fold(sum);
  std::memcpy(b.data + h.csum_start + h.csum_offset, &pseudo, sizeof pseudo);
  note_unfinished_checksum(h, b);
}

// What the header says of segments. The checksum's place has been checked against the packet.
inline VnetVerdict apply_segments(const VnetHeader& h, Buffer& packet, bool takes_udp) noexcept {
  if (h.gso_type & kVnetGsoUdpTunnel) return VnetVerdict::kUnsupported;
  const uint8_t type = h.gso_type & static_cast<uint8_t>(~kVnetGsoEcn);
  if (type == kVnetGsoNone)
    return h.gso_type == kVnetGsoNone ? VnetVerdict::kGood : VnetVerdict::kMalformed;
  const bool is_udp = type == kVnetGsoUdp && takes_udp;
  if (type != kVnetGsoTcp4 && type != kVnetGsoTcp6 && !is_udp) return VnetVerdict::kMalformed;
  const bool is_unfinished = h.flags & kVnetNeedsChecksum;
  if (h.gso_size == 0 || !(h.flags & (kVnetNeedsChecksum | kVnetDataValid)))
    return VnetVerdict::kMalformed;
  if (is_unfinished && h.csum_offset != (is_udp ? kUdpChecksumOffset : kTcpChecksumOffset))
    return VnetVerdict::kMalformed;
  const Outermost o = outermost_of(packet);
  // The kernel notes no tunnel in the header: it is seen by what is summed, or is of no other use.
  const uint8_t protocol = is_udp ? kProtoUdp : kProtoTcp;
  const bool is_inner = is_unfinished ? h.csum_start > o.l4_at : o.protocol != protocol;
  if (is_inner && may_be_a_tunnel(o)) return VnetVerdict::kUnsupported;
  const bool is_ip6 = is_udp ? o.family == kEtherTypeIp6 : type == kVnetGsoTcp6;
  if (o.protocol != protocol || o.family != (is_ip6 ? kEtherTypeIp6 : kEtherTypeIp4) ||
      (is_unfinished && h.csum_start != o.l4_at))
    return VnetVerdict::kMalformed;
  const uint32_t payload_at = payload_offset(packet, o);
  if (payload_at == 0) return VnetVerdict::kMalformed;
  // One segment after all is a plain packet.
  if (packet.length() - payload_at <= h.gso_size) return VnetVerdict::kGood;
  packet.gso_size = h.gso_size;
  if (!is_unfinished) unfinish_checksum(packet, o);
  return VnetVerdict::kGood;
}

}  // namespace vnet_detail

// Sets the packet's flags and gso_size from a received header. Every offset in it is checked
// against the packet: whoever owns the other end may inject packets with headers of his own. A
// packet that is not kGood is to be dropped. `takes_udp`: UDP segmentation is no contradiction.
// A checksum that is verified may be replaced by the pseudo-header's sum.
inline VnetVerdict vnet_apply_received(const VnetHeader& h, Buffer& packet,
                                       bool takes_udp = false) noexcept {
  using namespace vnet_detail;
  if (h.flags & kVnetNeedsChecksum) {
    const uint32_t field = uint32_t{h.csum_start} + h.csum_offset;
    if (h.csum_start < sizeof(EthernetHeader) || h.csum_start % 2 != 0 ||
        field + sizeof(uint16_t) > packet.len)
      return VnetVerdict::kMalformed;
    packet.flags |= kBufferL4ChecksumOk;
    note_unfinished_checksum(h, packet);
  } else if (h.flags & kVnetDataValid) {
    packet.flags |= kBufferL4ChecksumOk;
  }
  return apply_segments(h, packet, takes_udp);
}

// Fills in the header for a packet that is to be sent, data at its Ethernet header. False: the
// packet's offsets do not describe its headers, so that the kernel would refuse it, or it is UDP
// that is to be segmented.
inline bool vnet_make_to_send(const Buffer& packet, VnetHeader& h) noexcept {
  using namespace vnet_detail;
  h = {};
  if (!(packet.flags & kBufferTxL4Checksum) && packet.gso_size == 0) [[likely]]
    return true;
  // Offsets are relative to start(), which external segments do not have.
  if (packet.is_external()) return false;
  if (packet.gso_size != 0 && packet.flags & kBufferTxUdpChecksum) return false;
  const int l4 = packet.l4_offset - static_cast<int>(packet.data - packet.start());
  const bool is_tcp = packet.gso_size != 0 || (packet.flags & kBufferTxTcpChecksum);
  const uint32_t header_size = is_tcp ? sizeof(TcpHeader) : sizeof(UdpHeader);
  if (l4 < static_cast<int>(sizeof(EthernetHeader)) ||
      static_cast<uint32_t>(l4) + header_size > packet.len)
    return false;
  h.flags = kVnetNeedsChecksum;
  h.csum_start = static_cast<uint16_t>(l4);
  h.csum_offset = is_tcp ? kTcpChecksumOffset : kUdpChecksumOffset;
  if (packet.gso_size == 0) return true;
  const auto* tcp = reinterpret_cast<const TcpHeader*>(packet.data + l4);
  const uint32_t headers = static_cast<uint32_t>(l4) + tcp->header_length();
  if (tcp->header_length() < sizeof(TcpHeader) || headers > packet.len) return false;
  if (packet.length() - headers <= packet.gso_size) return true;
  h.gso_type = packet.flags & kBufferIsIp6 ? kVnetGsoTcp6 : kVnetGsoTcp4;
  h.gso_size = packet.gso_size;
  h.hdr_len = static_cast<uint16_t>(headers);
  return true;
}

}  // namespace loom
