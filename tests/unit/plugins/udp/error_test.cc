// udp4-error and udp6-error: what ICMP errors about our datagrams do. RFC 1122 section 4.1.3.3.
#include "udp_bed.h"

namespace loom::test {
namespace {

struct UdpError : testing::TestWithParam<bool> {
  UdpBed bed;
  bool ip6() const { return GetParam(); }
  std::string name() const { return ip6() ? "udp6-error" : "udp4-error"; }
  uint64_t count(const char* counter) { return bed.count(name() + "/" + counter); }
  ~UdpError() override { EXPECT_EQ(bed.fake.node_total(name()), bed.fake.packets_into(name())); }

  // The error quotes a datagram of ours to the peer.
  void error(uint8_t type, uint8_t code, uint32_t mtu = 0, uint16_t from_port = 40'000,
             uint32_t cut = 0) {
    Buffer* b = bed.fake.worker.alloc();
    b->l3_offset = b->offset_of_data();
    if (ip6()) {
      auto& ip = *reinterpret_cast<Ip6Header*>(b->append(sizeof(Ip6Header)));
      ip.version_class_flow = 6u << 28;
      ip.src = bed.local(true).ip6();
      ip.dst = bed.remote(true).ip6();
    } else {
      auto& ip = *reinterpret_cast<Ip4Header*>(b->append(sizeof(Ip4Header)));
      ip.version_ihl = 0x45;
      ip.src = bed.local(false).ip4();
      ip.dst = bed.remote(false).ip4();
    }
    b->advance(b->len);
    UdpHeader h{};
    h.src_port = from_port;
    h.dst_port = 7;
    std::memcpy(b->append(sizeof h - cut), &h, sizeof h - cut);
    const IcmpErrorNote note{.type = type, .code = code, .is_ip6 = ip6(), .mtu = mtu};
    std::memcpy(b->opaque, &note, sizeof note);
    bed.fake.deliver(name(), {b});
  }
  void port_unreachable(uint16_t from_port = 40'000) {
    ip6() ? error(1, 4, 0, from_port) : error(3, 3, 0, from_port);
  }
};
INSTANTIATE_TEST_SUITE_P(Ip, UdpError, testing::Bool(),
                         [](const auto& i) { return i.param ? "v6" : "v4"; });

TEST_P(UdpError, PortUnreachableIsToldToTheConnected) {
  bed.connect(7, ip6());
  port_unreachable();
  ASSERT_EQ(bed.errors.size(), 1u);
  EXPECT_EQ(bed.errors[0], std::pair(SessionId{100}, ResetReason::kRefused));
  EXPECT_EQ(count("refused"), 1u);
}

TEST_P(UdpError, TheBoundAndStrangersHearNothing) {
  bed.bind(40'000, ip6());
  port_unreachable();
  port_unreachable(1);
  EXPECT_TRUE(bed.errors.empty());
  EXPECT_EQ(count("no-connection"), 2u);
}

TEST_P(UdpError, ErrorsThatMayPassAreIgnored) {
  bed.connect(7, ip6());
  ip6() ? error(1, 0) : error(3, 1);
  ip6() ? error(3, 0) : error(11, 0);
  EXPECT_TRUE(bed.errors.empty());
  EXPECT_EQ(count("ignored"), 2u);
}

TEST_P(UdpError, TooShortAQuoteIsCounted) {
  bed.connect(7, ip6());
  error(3, 3, 0, 40'000, 1);
  EXPECT_EQ(count("too-short"), 1u);
}

TEST_P(UdpError, AnotherWorkersIsHandedOver) {
  bed.connect(7, ip6());
  for (auto& [id, flow] : bed.flows) flow.worker = 1;
  port_unreachable();
  EXPECT_EQ(count("handed-off"), 1u);
  EXPECT_EQ(bed.fake.handed_off.size(), 1u);
}

TEST_P(UdpError, ASmallerPathMtuHoldsForTenMinutes) {  // RFC 1191, RFC 8201
  const ConnId c = bed.connect(7, ip6());
  const std::string payload(1400, 'a');
  uint32_t split_to = 0;
  const auto fits = [&] {
    bed.send(c, payload);
    if (ip6()) {
      const auto& c = bed.fake.captured.back();
      if (c.node != "ip6-fragment") return true;
      std::memcpy(&split_to, c.packet->opaque, sizeof split_to);
      return false;
    }
    const auto& ip = *bed.fake.captured.back().packet->peek<Ip4Header>();
    return ip.flags_fragment == kIp4DontFragment;
  };
  const auto mtu = [&](uint32_t n) { ip6() ? error(2, 0, n) : error(3, 4, n); };
  EXPECT_TRUE(fits());
  mtu(1300);
  EXPECT_EQ(count("path-mtu"), 1u);
  EXPECT_FALSE(fits());
  EXPECT_EQ(split_to, ip6() ? 1300u : 0u);
  mtu(1450);  // larger than what is known: not news
  EXPECT_FALSE(fits());
  // Below what links must carry: the least that they must (RFC 1191), or nothing (RFC 8201).
  mtu(ip6() ? 1279 : 0);
  EXPECT_EQ(count("ignored"), ip6() ? 1u : 0u);
  EXPECT_EQ(count("path-mtu"), ip6() ? 2u : 3u);
  bed.fake.advance_to(bed.fake.worker.now + 599 * kSecond);
  EXPECT_FALSE(fits());
  bed.fake.advance_to(bed.fake.worker.now + kSecond);
  EXPECT_TRUE(fits());
}

}  // namespace
}  // namespace loom::test
