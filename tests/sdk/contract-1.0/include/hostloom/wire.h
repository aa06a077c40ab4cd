// Headers as they lie in packets. Multi-byte fields are big-endian types; a field converts when it
// is read.
#pragma once
#include <hostloom/address.h>
#include <hostloom/types.h>

namespace loom {

constexpr uint16_t kEtherTypeIp4 = 0x0800, kEtherTypeArp = 0x0806, kEtherTypeIp6 = 0x86dd,
                   kEtherTypeVlan = 0x8100;
constexpr uint8_t kProtoIcmp = 1, kProtoTcp = 6, kProtoUdp = 17, kProtoIcmp6 = 58;

struct EthernetHeader {
  MacAddress dst;
  MacAddress src;
  Be16 type;
};
static_assert(sizeof(EthernetHeader) == 14);

struct VlanTag {
  Be16 tci;
  Be16 type;
};
static_assert(sizeof(VlanTag) == 4);

struct ArpHeader {  // RFC 826, Ethernet and IPv4
  Be16 hardware_type;
  Be16 protocol_type;
  uint8_t hardware_length;
  uint8_t protocol_length;
  Be16 operation;
  MacAddress sender_mac;
  Ip4Address sender_ip;
  MacAddress target_mac;
  Ip4Address target_ip;
};
static_assert(sizeof(ArpHeader) == 28);

struct Ip4Header {  // RFC 791
  uint8_t version_ihl;
  uint8_t tos;
  Be16 total_length;
  Be16 id;
  Be16 flags_fragment;
  uint8_t ttl;
  uint8_t protocol;
  [[gnu::packed]] uint16_t checksum;  // ones'-complement sums are the same in either byte order: kept raw
  Ip4Address src;
  Ip4Address dst;
  uint8_t version() const noexcept { return version_ihl >> 4; }
  uint32_t header_length() const noexcept { return (version_ihl & 15u) * 4; }
  bool is_fragment() const noexcept { return flags_fragment & 0x3fff; }
};
static_assert(sizeof(Ip4Header) == 20);
constexpr uint16_t kIp4DontFragment = 0x4000;

struct Ip6Header {  // RFC 8200
  Be32 version_class_flow;
  Be16 payload_length;
  uint8_t next_header;
  uint8_t hop_limit;
  Ip6Address src;
  Ip6Address dst;
  uint8_t version() const noexcept { return static_cast<uint8_t>(version_class_flow >> 28); }
  uint8_t traffic_class() const noexcept { return static_cast<uint8_t>(version_class_flow >> 20); }
};
static_assert(sizeof(Ip6Header) == 40);

struct IcmpHeader {  // RFC 792 and RFC 4443
  uint8_t type;
  uint8_t code;
  [[gnu::packed]] uint16_t checksum;
  Be32 rest;
};
static_assert(sizeof(IcmpHeader) == 8);

// ICMP types and codes that nodes send or act on (RFC 792, RFC 1191, RFC 4443).
constexpr uint8_t kIcmp4EchoReply = 0, kIcmp4Unreachable = 3, kIcmp4Echo = 8,
                  kIcmp4TimeExceeded = 11, kIcmp4ParameterProblem = 12;
constexpr uint8_t kIcmp4NetUnreachable = 0, kIcmp4HostUnreachable = 1,
                  kIcmp4ProtocolUnreachable = 2, kIcmp4PortUnreachable = 3,
                  kIcmp4FragmentationNeeded = 4;
constexpr uint8_t kIcmp6Unreachable = 1, kIcmp6PacketTooBig = 2, kIcmp6TimeExceeded = 3,
                  kIcmp6ParameterProblem = 4, kIcmp6Echo = 128, kIcmp6EchoReply = 129,
                  kIcmp6RouterSolicitation = 133, kIcmp6RouterAdvertisement = 134,
                  kIcmp6NeighborSolicitation = 135, kIcmp6NeighborAdvertisement = 136;
constexpr uint8_t kIcmp6NoRoute = 0, kIcmp6AddressUnreachable = 3, kIcmp6PortUnreachable = 4;

struct TcpHeader {  // RFC 9293 section 3.1
  Be16 src_port;
  Be16 dst_port;
  Be32 seq;
  Be32 ack;
  uint8_t data_offset;  // upper four bits, in 32-bit words
  uint8_t flags;
  Be16 window;
  [[gnu::packed]] uint16_t checksum;
  Be16 urgent;
  uint32_t header_length() const noexcept { return (data_offset >> 4) * 4u; }
};
static_assert(sizeof(TcpHeader) == 20);

struct UdpHeader {  // RFC 768
  Be16 src_port;
  Be16 dst_port;
  Be16 length;
  [[gnu::packed]] uint16_t checksum;
};
static_assert(sizeof(UdpHeader) == 8);

}  // namespace loom
