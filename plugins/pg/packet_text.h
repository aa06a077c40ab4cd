// A packet as an operator describes it, header by header, in VPP's words:
//
//   IP4: 00:00:00:00:00:01 -> 1.2.3         Ethernet: IP4, IP6, ARP or 0xTYPE, and two MAC
//   addresses UDP: 10.0.0.1 -> 10.0.0.2 ttl 64        IP: UDP, TCP, ICMP, ICMP6 or a number, and
//   two addresses UDP: 1234 -> 53                         ports; or TCP: 1234 -> 80 SYN seqnum 1
//   window 100 ICMP echo_request code 0                type, code and checksum; identifier and so
//   on are payload incrementing 100                        payload: bytes 0, 1, 2, ... hex
//   0x0102030405                        payload as it is
//
// Each layer may be left out at the top; what is left out is not in the packet. Lengths and
// checksums are worked out unless they are given: `length N` (IPv4, IPv6, UDP) and `checksum N`.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include <hostloom/address.h>
#include <hostloom/cli.h>

namespace loom::pg {

constexpr uint32_t kMostPacket = 65'535;  // bytes

// A packet among the bytes of many.
struct Frame {
  uint32_t at, length;
};

struct EthernetText {
  MacAddress src, dst;
  uint16_t type = 0;
};

struct IpText {
  IpAddress src, dst;
  uint8_t protocol = 0, ttl = 64, tos = 0;
  std::optional<uint16_t> length, checksum;
};

struct L4Text {
  uint8_t protocol = 0;
  uint16_t src_port = 0, dst_port = 0;  // UDP, TCP
  std::optional<uint16_t> length, checksum;
  uint32_t seq = 0, ack = 0;  // TCP
  uint16_t window = 0;
  uint8_t flags = 0;
  uint8_t type = 0, code = 0;  // ICMP
};

struct Payload {
  bool is_incrementing = false;  // goes on where the packet is longer than described
  std::vector<uint8_t> bytes;
};

struct PacketText {
  std::optional<EthernetText> ethernet;
  std::optional<IpText> ip;
  std::optional<L4Text> l4;
  Payload payload;

  uint32_t header_length() const;
  uint32_t length() const { return header_length() + static_cast<uint32_t>(payload.bytes.size()); }
};

// Reads up to the closing brace, and takes it. Errors name the word, its position and the reason.
Result<PacketText> read_packet_text(CliArgs&);

// The packet of exactly that many bytes: its payload is cut, or continued (with zeros, if it is not
// incrementing). length >= header_length().
std::vector<uint8_t> build_packet(const PacketText&, uint32_t length);

// "unknown word 'x' at position 4: REASON", of the word that `at` stands at.
Error refuse(const CliArgs& at, const std::string& reason);

}  // namespace loom::pg
