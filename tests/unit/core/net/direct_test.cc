// Packets that no wire brings: handed straight to a node, as transports and plugins do, and wrong.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr IfIndex kNobody = 99;

class DirectTest : public ::testing::Test {
 protected:
  DirectTest() : wire(host.add_device({"10.0.0.2/24", "2001:db8::2/64"}, kCapScatter)) {
    host.know(wire, "10.0.0.1");
    host.know(wire, "2001:db8::1");
    host.pass(2 * kSecond);  // duplicate address detection is over
    wire.take_sent();
  }
  static Bytes packet4(std::size_t size = 20) {
    return make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 17}, counting(size));
  }
  static Bytes packet6(std::size_t size = 20) {
    return make_ip6({.src = "2001:db8::2", .dst = "2001:db8::1", .next_header = 17},
                    counting(size));
  }
  // `node` drops the packet and counts it there; nothing leaves.
  void expect_dropped(const char* node, Buffer* b, const std::string& counter) {
    const std::string name = std::string(node) + "/" + counter;
    const uint64_t before = host.counter(name);
    host.enqueue(node, b);
    EXPECT_EQ(host.counter(name), before + 1) << name;
    EXPECT_THAT(wire.take_sent(), IsEmpty()) << name;
  }
  Buffer* own(const Bytes& bytes, uint32_t headroom = kHeadroom) {
    Buffer* b = host.make(bytes, headroom);
    b->flags |= kBufferLocallyOriginated;
    return b;
  }
  Buffer* received(const Bytes& bytes, IfIndex rx_if, uint32_t headroom = kHeadroom) {
    Buffer* b = host.make(bytes, headroom);
    b->rx_if = rx_if;
    b->l3_offset = b->offset_of_data();
    return b;
  }
  uint32_t adjacency_to(const char* address) {
    RouteInfo r;
    EXPECT_EQ(host.worker().net->route(host.worker(), *IpAddress::parse(address), 0, &r),
              Status::kOk);
    return r.adjacency;
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(DirectTest, OwnPacketsWithoutAWholeIpHeader) {
  for (const char* node : {"ip4-lookup", "ip4-rewrite"})
    expect_dropped(node, own(part(packet4(), 0, 19)), "too-short");
  for (const char* node : {"ip6-lookup", "ip6-rewrite"})
    expect_dropped(node, own(part(packet6(), 0, 39)), "too-short");
  expect_dropped("ip4-local", own(part(packet4(), 0, 19)), "bad-header");
  expect_dropped("ip6-local", own(part(packet6(), 0, 39)), "bad-header");
  for (const uint8_t first : {0x40, 0x44, 0x4f}) {  // 0, 16 and 60 bytes of 40
    Bytes p = packet4();
    p[0] = first;
    expect_dropped("ip4-local", own(p), "bad-header");
    expect_dropped("ip4-fragment", own(p), "bad-header");
  }
  expect_dropped("ip4-fragment", own(part(packet4(), 0, 19)), "bad-header");
}

TEST_F(DirectTest, RoutingTableThatIsGone) {
  for (const char* node : {"ip4-lookup", "ip6-lookup"}) {
    Buffer* b = own(node[2] == '4' ? packet4() : packet6());
    b->fib_index = 7;
    expect_dropped(node, b, "no-table");
  }
}

TEST_F(DirectTest, NoRoomForTheLinkLayerHeader) {
  Buffer* b = own(packet4(), 13);
  b->adjacency = adjacency_to("10.0.0.1");
  expect_dropped("ip4-rewrite", b, "no-headroom");
  b = own(packet6(), 13);
  b->adjacency = adjacency_to("2001:db8::1");
  expect_dropped("ip6-rewrite", b, "no-headroom");
  b = own(packet4(), 14);
  b->adjacency = adjacency_to("10.0.0.1");
  host.enqueue("ip4-rewrite", b);
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
}

TEST_F(DirectTest, IcmpErrorThatCannotBeMade) {
  const auto request = [](Buffer* b, uint8_t type) {
    request_icmp_error(*b, type, 0);
    return b;
  };
  for (const bool is_ip6 : {false, true}) {
    const char* node = is_ip6 ? "icmp6-error" : "icmp4-error";
    const uint8_t type = is_ip6 ? 1 : 3;
    const Bytes p =
        is_ip6 ? make_ip6({.src = "2001:db8::1", .dst = "2001:db8::2", .next_header = 17},
                          counting(20))
               : make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2", .protocol = 17}, counting(20));
    Buffer* b = received(p, wire.index);
    b->l3_offset = static_cast<int16_t>(b->l3_offset + 1);  // behind the data
    expect_dropped(node, request(b, type), "no-header");
    expect_dropped(node, request(received(part(p, 0, is_ip6 ? 39 : 19), wire.index), type),
                   "no-header");
    const uint32_t needed = (is_ip6 ? 40 : 20) + 8;
    expect_dropped(node, request(received(p, wire.index, needed - 1), type), "no-headroom");
    const std::string rewrite = is_ip6 ? "ip6-rewrite" : "ip4-rewrite";
    host.enqueue(node, request(received(p, wire.index, needed), type));
    EXPECT_EQ(host.counter(std::string(node) + "/sent"), 1u);
    EXPECT_EQ(host.counter(rewrite + "/no-headroom"), 1u);  // of the link-layer header
  }
  Bytes cut = make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"}, counting(20));
  cut[0] = 0x4f;
  expect_dropped("icmp4-error", request(received(cut, wire.index), 3), "no-header");
  for (const char* src : {"::", "ff02::1"})
    expect_dropped("icmp6-error",
                   request(received(make_ip6({.src = src, .dst = "2001:db8::2", .next_header = 17},
                                             counting(20)),
                                    wire.index),
                           1),
                   "bad-source");
}

TEST_F(DirectTest, NoAddressToSendAnIcmpErrorFrom) {
  FakeDevice& bare = host.add_device({});
  const char* mac_of_bare = "02:00:00:00:00:02";
  host.receive(bare, ethernet(mac_of_bare, NetHost::kPeerMac, 0x0800,
                              make_ip4({.src = "10.9.0.1", .dst = "10.9.0.2"}, counting(20))));
  EXPECT_EQ(host.counter("icmp4-error/no-address"), 1u);
  host.receive(
      bare, ethernet(mac_of_bare, NetHost::kPeerMac, 0x86dd,
                     make_ip6({.src = "2001:db8:9::1", .dst = "2001:db8:9::2", .next_header = 17},
                              counting(20))));
  EXPECT_EQ(host.counter("icmp6-error/no-address"), 1u);
  EXPECT_EQ(host.counter("ip6-lookup/no-route"), 1u);
  EXPECT_THAT(bare.take_sent(), IsEmpty());
}

TEST_F(DirectTest, InterfaceThatIsGone) {
  const Bytes arp = make_arp(1, NetHost::kPeerMac, "10.0.0.1", "00:00:00:00:00:00", "10.0.0.2");
  const Bytes nd = make_icmp6("2001:db8::1", "2001:db8::2", 135, 0, 0, ip6("2001:db8::2"));
  const Bytes frame = ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800, packet4());
  expect_dropped("ethernet-input", received(frame, kNobody), "no-interface");
  expect_dropped("arp-input", received(arp, kNobody), "no-interface");
  expect_dropped("ip4-input", received(packet4(), kNobody), "no-interface");
  expect_dropped("ip6-input", received(packet6(), kNobody), "no-interface");
  expect_dropped("icmp6-neighbor", received(nd, kNobody), "no-interface");
  for (const char* node : {"interface-output", "tx-offload", "interface-tx"}) {
    Buffer* b = own(frame);
    b->tx_if = kNobody;
    expect_dropped(node, b, "no-interface");
  }
}

TEST_F(DirectTest, InterfaceThatIsDown) {
  Buffer* waits = own(packet4());
  waits->adjacency = adjacency_to("10.0.0.77");
  must(host.net->set_admin(wire.index, false));
  expect_dropped("ip4-input", received(packet4(), wire.index), "interface-down");
  expect_dropped("ip6-input", received(packet6(), wire.index), "interface-down");
  expect_dropped("neighbor-resolve", waits, "interface-down");
  Buffer* b = own(ethernet(NetHost::kPeerMac, NetHost::kOwnMac, 0x0800, packet4()));
  b->tx_if = wire.index;
  expect_dropped("interface-output", b, "interface-down");
}

TEST_F(DirectTest, ChecksumToComputeWithoutAHeaderToPutItIn) {
  const auto ask = [&](Buffer* b) {
    b->l3_offset = b->offset_of_data();
    b->l4_offset = static_cast<int16_t>(b->l3_offset + 20);
    b->flags |= kBufferTxTcpChecksum;
    return b;
  };
  // Seven bytes where a TCP header should be.
  host.enqueue("ip4-lookup", ask(own(packet4(7))));
  EXPECT_EQ(host.counter("tx-offload/bad-offsets"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  Buffer* b = ask(own(packet4(3000)));
  b->l4_offset = static_cast<int16_t>(b->l3_offset - 1);
  host.enqueue("ip4-lookup", b);
  EXPECT_EQ(host.counter("ip4-fragment/bad-l4-offset"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(DirectTest, AdjacencyThatWasFreedIsLookedUpAgain) {
  for (const bool is_ip6 : {false, true}) {
    const std::string rewrite = is_ip6 ? "ip6-rewrite" : "ip4-rewrite";
    Buffer* b = own(is_ip6 ? packet6() : packet4());
    b->adjacency = 5000;  // nothing there
    host.enqueue(rewrite.c_str(), b);
    EXPECT_EQ(host.counter(rewrite + "/stale"), 1u);
    EXPECT_EQ(host.counter(rewrite + "/sent"), 1u);
    EXPECT_THAT(wire.take_sent(), SizeIs(1));
  }
  Buffer* b = own(packet4());
  b->adjacency = 5000;
  expect_dropped("neighbor-resolve", b, "stale");
}

}  // namespace
}  // namespace loom
