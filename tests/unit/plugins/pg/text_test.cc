// Descriptions of packets: their bytes against plainly written ones, and what is refused.
#include "pg_test_host.h"

namespace loom::pg {
namespace {

using testing::HasSubstr;

std::vector<std::string_view> words_of(const std::string& text) { return *split_cli_line(text); }
Bytes build(const std::string& text, uint32_t length = 0) {
  const std::string line = text + " }";
  const auto words = words_of(line);
  CliArgs args(words, 0);
  const auto packet = read_packet_text(args);
  EXPECT_TRUE(packet) << text << ": " << (packet ? "" : packet.error().message);
  return packet ? build_packet(*packet, length ? length : packet->length()) : Bytes{};
}
std::string refused(const std::string& text) {
  const auto words = words_of(text);
  CliArgs args(words, 0);
  const auto packet = read_packet_text(args);
  EXPECT_FALSE(packet) << text;
  return packet ? "" : packet.error().message;
}
Bytes incrementing(std::size_t n) {
  Bytes b(n);
  for (std::size_t i = 0; i < n; ++i) b[i] = static_cast<uint8_t>(i);
  return b;
}

TEST(PacketText, UdpOverIp4OverEthernet) {
  const Bytes udp = make_udp(ip4("10.0.0.9"), ip4("10.0.0.1"), 1234, 53, incrementing(100));
  const Bytes ip = make_ip4({.src = "10.0.0.9", .dst = "10.0.0.1", .protocol = 17, .id = 0}, udp);
  EXPECT_EQ(build("IP4: 02:00:00:00:00:09 -> 2.3fd.fed0 UDP: 10.0.0.9 -> 10.0.0.1 "
                  "UDP: 1234 -> 53 incrementing 100"),
            ethernet("00:02:03:fd:fe:d0", "02:00:00:00:00:09", 0x0800, ip));
}

TEST(PacketText, UdpOverIp6) {
  const Bytes udp = make_udp(ip6("2001:db8::9"), ip6("2001:db8::1"), 1, 2, {0xca, 0xfe, 0x01});
  EXPECT_EQ(
      build("UDP: 2001:db8::9 -> 2001:db8::1 hop-limit 3 UDP: 1 -> 2 hex 0xcaFE hex 01"),
      make_ip6({.src = "2001:db8::9", .dst = "2001:db8::1", .next_header = 17, .hop_limit = 3},
               udp));
}

TEST(PacketText, TcpWithFlags) {
  Bytes tcp(20);
  put16(tcp, 0, 1234);
  put16(tcp, 2, 80);
  put32(tcp, 4, 7);
  put32(tcp, 8, 0xfffffffe);
  tcp[12] = 0x50;
  tcp[13] = 0x12;
  put16(tcp, 14, 100);
  put16(tcp, 16, plain_checksum(pseudo(ip4("1.2.3.4"), ip4("5.6.7.8"), 6, 20) + tcp));
  EXPECT_EQ(
      build("TCP: 1.2.3.4 -> 5.6.7.8 ttl 1 tos 0x10 "
            "TCP: 1234 -> 80 SYN ACK seqnum 7 acknum 4294967294 window 100"),
      make_ip4({.src = "1.2.3.4", .dst = "5.6.7.8", .protocol = 6, .ttl = 1, .tos = 0x10, .id = 0},
               tcp));
}

TEST(PacketText, IcmpOfBothFamilies) {
  EXPECT_EQ(build("ICMP: 1.2.3.4 -> 5.6.7.8 ICMP echo_request hex 0x00010002 incrementing 3"),
            make_ip4({.src = "1.2.3.4", .dst = "5.6.7.8", .id = 0},
                     make_icmp4(8, 0, 0x00010002, incrementing(3))));
  EXPECT_EQ(
      build("ICMP6: ::1 -> ::2 ICMP echo_request hex 0x00010002"),
      make_ip6({.src = "::1", .dst = "::2"}, make_icmp6("::1", "::2", 128, 0, 0x00010002, {})));
  EXPECT_EQ(build("ICMP 3 code 4 checksum 0x1234"), (Bytes{3, 4, 0x12, 0x34}));
  EXPECT_EQ(build("ICMP6 packet_too_big")[0], 2);
}

TEST(PacketText, LengthsAndChecksumsCanBeWrong) {
  const Bytes ip =
      build("UDP: 1.2.3.4 -> 5.6.7.8 length 99 checksum 0 UDP: 1 -> 2 length 7 checksum 5");
  EXPECT_EQ(get16(ip, 2), 99u);
  EXPECT_EQ(get16(ip, 10), 0u);
  EXPECT_EQ(get16(ip, 24), 7u);
  EXPECT_EQ(get16(ip, 26), 5u);
}

TEST(PacketText, IsCutOrContinuedToASize) {
  const Bytes longer = build("UDP: 1.2.3.4 -> 5.6.7.8 UDP: 1 -> 2 incrementing 10", 64);
  EXPECT_EQ(longer, make_ip4({.src = "1.2.3.4", .dst = "5.6.7.8", .protocol = 17, .id = 0},
                             make_udp(ip4("1.2.3.4"), ip4("5.6.7.8"), 1, 2, incrementing(36))));
  EXPECT_EQ(build("hex 0x010203", 5), (Bytes{1, 2, 3, 0, 0}));
  EXPECT_EQ(build("hex 0x010203", 2), (Bytes{1, 2}));
  EXPECT_EQ(build("hex 0xff incrementing 300").size(), 301u);
  EXPECT_EQ(build("incrementing 2 hex 0x09", 5), (Bytes{0, 1, 9, 0, 0}));
}

TEST(PacketText, RefusesWithPositionAndReason) {
  const std::pair<const char*, const char*> cases[] = {
      {"IP4: 1.2.3", "incomplete command: '->' is wanted there"},
      {"IP4: 1.2.3 => 4.5.6", "'=>' at position 3: '->' is wanted there"},
      {"IP4: 1.2.3 -> 4.5.6.7", "'4.5.6.7' at position 4: a MAC address is wanted there"},
      {"IP4: 1.2 -> 4.5.6", "'1.2' at position 2"},
      {"IP4: 1..3 -> 4.5.6", "'1..3' at position 2"},
      {"IP4: 00:11:22:33:44:5g -> 4.5.6", "position 2"},
      {"IP4: 00:11:22:33:44:555 -> 4.5.6", "position 2"},
      {"IP4: 12345.2.3 -> 4.5.6", "position 2"},
      {"0x10000: 1.2.3 -> 4.5.6", "'0x10000:' at position 1: there is no such protocol"},
      {"FOO: 1.2.3.4 -> 1.2.3.5", "'FOO:' at position 1"},
      {":", "':' at position 1"},
      {"UDP: 1.2.3.4 -> 1.2.3.256", "'1.2.3.256' at position 4: an IP address"},
      {"UDP: 1.2.3.4 -> ::1", "'UDP:' at position 1: one of the addresses is IPv4"},
      {"UDP: 1.2.3.4 -> 1.2.3.5 ttl 256", "'256' at position 6: a number from 0 to 255"},
      {"UDP: ::1 -> ::2 checksum 1", "'checksum' at position 5"},
      {"UDP: 1 -> 65536", "'65536' at position 4: a port"},
      {"UDP: -1 -> 2", "'-1' at position 2"},
      {"UDP: 1 -> 2 SYN", "'SYN' at position 5"},
      {"ICMP: 1 -> 2", "'ICMP:' at position 1: two IP addresses"},
      {"TCP: 1.2.3.4 -> 1.2.3.5 UDP: 1 -> 2",
       "'UDP:' at position 5: the IP header in front announces protocol 6"},
      {"UDP: 1.2.3.4 -> 1.2.3.5 UDP: 1.2.3.4 -> 1.2.3.5", "'UDP:' at position 5: an IP header"},
      {"UDP: 1 -> 2 IP4: 1.2.3 -> 4.5.6", "'IP4:' at position 5: an Ethernet header"},
      {"incrementing 1 UDP: 1 -> 2", "'UDP:' at position 3"},
      {"IP4: 1.2.3 -> 4.5.6 UDP: 1 -> 2", "'UDP:' at position 5"},
      {"ICMP echo_reques", "'echo_reques' at position 2: a type"},
      {"ICMP", "incomplete command: a type"},
      {"incrementing 65536", "'65536' at position 2"},
      {"incrementing 65535 incrementing 1", "more than 65535 bytes"},
      {"hex 0x1", "'0x1' at position 2: an even number"},
      {"hex 0x", "'0x' at position 2"},
      {"hex 0x1g", "'0x1g' at position 2"},
      {"hex", "incomplete command: an even"},
      {"incrementing 4", "incomplete command: '}'"},
      {"TCP: 1 -> 2 seqnum 4294967296", "'4294967296' at position 6"},
  };
  for (const auto& [text, says] : cases) EXPECT_THAT(refused(text), HasSubstr(says)) << text;
}

}  // namespace
}  // namespace loom::pg
