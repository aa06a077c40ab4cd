// A host that gets fragments, of both IP versions, and what they are made of.
#pragma once
#include "net_host.h"

namespace loom {

inline constexpr uint16_t kMore = 0x2000;  // IPv4's flag; the offset is in units of 8 bytes
inline constexpr const char *kPeer = "10.0.0.1", *kOwn = "10.0.0.2";
inline constexpr const char *kPeer6 = "2001:db8::1", *kOwn6 = "2001:db8::2";

class ReassemblyTest : public ::testing::Test {
 protected:
  explicit ReassemblyTest(uint32_t n_workers = 1)
      : host({.reassembly_buffers = 1024}, n_workers),
        wire(host.add_device({"10.0.0.2/24", "2001:db8::2/64"})) {
    host.know(wire, kPeer);
    host.know(wire, kPeer6);
    for (const uint8_t protocol : {6, 17}) {
      must(host.net->add_ip_protocol(protocol, false, "test-sink"));
      must(host.net->add_ip_protocol(protocol, true, "test-sink"));
    }
  }
  // --- IPv4
  static Bytes udp(std::size_t payload) {
    return make_udp(ip4(kPeer), ip4(kOwn), 1000, 2000, counting(payload));
  }
  // Bytes [at, at + n) of a datagram.
  static Bytes piece(const Bytes& whole, std::size_t at, std::size_t n, Ip4 h = {}) {
    h.src = h.src.empty() ? kPeer : h.src;
    h.dst = kOwn;
    h.protocol = h.protocol == 1 ? 17 : h.protocol;
    h.flags_fragment = static_cast<uint16_t>(at / 8 | (at + n < whole.size() ? kMore : 0));
    return make_ip4(h, part(whole, at, n));
  }
  static std::vector<Bytes> pieces(const Bytes& whole, std::size_t n, const Ip4& h = {}) {
    std::vector<Bytes> all;
    for (std::size_t at = 0; at < whole.size(); at += n)
      all.push_back(piece(whole, at, std::min(n, whole.size() - at), h));
    return all;
  }
  void receive(const Bytes& packet, uint32_t flags = 0) {
    const uint16_t type = packet[0] >> 4 == 4 ? 0x0800 : 0x86dd;
    host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, type, packet), flags);
  }
  void receive(const std::vector<Bytes>& packets) {
    for (const Bytes& p : packets) receive(p);
  }
  // --- IPv6. `before`: extension headers in front of the fragment header, whose first is `type`.
  static Bytes udp6(std::size_t payload) {
    return make_udp(ip6(kPeer6), ip6(kOwn6), 1000, 2000, counting(payload));
  }
  static Bytes raw6(const Bytes& payload, uint16_t offset_flags, uint8_t next = 17, uint32_t id = 9,
                    uint8_t type = 44, const Bytes& before = {}) {
    Bytes header = {next, 0, 0, 0, 0, 0, 0, 0};
    put16(header, 2, offset_flags);
    put32(header, 4, id);
    return make_ip6({.src = kPeer6, .dst = kOwn6, .next_header = type}, before + header + payload);
  }
  static Bytes piece6(const Bytes& whole, std::size_t at, std::size_t n, uint32_t id = 9) {
    return raw6(part(whole, at, n), static_cast<uint16_t>(at | (at + n < whole.size())), 17, id);
  }
  // What reached the protocol last, and nothing else since.
  Sink::Packet take() {
    EXPECT_THAT(host.sink.packets, ::testing::SizeIs(1));
    Sink::Packet p = host.sink.packets.empty() ? Sink::Packet{} : host.sink.packets[0];
    host.sink.packets.clear();
    return p;
  }
  uint64_t count(const std::string& name) { return host.counter("ip4-reassembly/" + name); }
  uint64_t count6(const std::string& name) { return host.counter("ip6-reassembly/" + name); }
  void expect_nothing() {
    EXPECT_THAT(host.sink.packets, ::testing::IsEmpty());
    EXPECT_THAT(wire.take_sent(), ::testing::IsEmpty());
  }
  void expect_empty() {
    for (const auto& w : net_state(host.worker()).workers) {
      EXPECT_EQ(w->fragments4->n_datagrams() + w->fragments6->n_datagrams(), 0u);
      EXPECT_EQ(w->fragments4->n_buffers() + w->fragments6->n_buffers(), 0u);
    }
  }

  NetHost host;
  FakeDevice& wire;
};

}  // namespace loom
