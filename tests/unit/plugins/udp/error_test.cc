// udp4-error and udp6-error: what ICMP errors about our datagrams do. RFC 1122 section 4.1.3.3.
#include "udp_bed.h"

namespace loom::test {
namespace {

struct UdpError : testing::TestWithParam<bool> {
  UdpBed bed;
  IfIndex rx_if = 3;  // by which errors come
  bool ip6() const { return GetParam(); }
  std::string name() const { return ip6() ? "udp6-error" : "udp4-error"; }
  uint64_t count(const char* counter) { return bed.count(name() + "/" + counter); }
  ~UdpError() override { EXPECT_EQ(bed.fake.node_total(name()), bed.fake.packets_into(name())); }

  IpAddress router() const { return *IpAddress::parse(ip6() ? "2001:db8::fe" : "10.9.9.9"); }
  // The error quotes a datagram of ours to the peer, with four bytes of payload.
  // `rest`: the word after ICMP's checksum.
  void error(uint8_t type, uint8_t code, uint32_t rest = 0, uint16_t from_port = 40'000,
             uint32_t cut = 0, const std::string& payload = "") {
    Buffer* b = bed.fake.worker.alloc();
    // The ICMP packet itself, from a router.
    uint8_t outer;
    if (ip6()) {
      auto& ip = *reinterpret_cast<Ip6Header*>(b->append(sizeof(Ip6Header) + 8));
      ip.version_class_flow = 6u << 28 | 0x48u << 20;
      ip.hop_limit = 61;
      ip.src = router().ip6();
      ip.dst = bed.local(true).ip6();
      outer = (sizeof(Ip6Header) + 8) / 4;
    } else {
      auto& ip = *reinterpret_cast<Ip4Header*>(b->append(sizeof(Ip4Header) + 8));
      ip.tos = 0x48;
      ip.ttl = 61;
      ip.src = router().ip4();
      ip.dst = bed.local(false).ip4();
      outer = (sizeof(Ip4Header) + 8) / 4;
    }
    b->advance(b->len - sizeof(IcmpHeader));
    *b->peek<IcmpHeader>() = {type, code, 0, rest};
    b->advance(sizeof(IcmpHeader));
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
    h.length = static_cast<uint16_t>(sizeof h + 4);
    std::memcpy(b->append(sizeof h - cut), &h, sizeof h - cut);
    const auto size = static_cast<uint32_t>(payload.size());
    std::memcpy(b->append(size), payload.data(), size);
    const bool is_mtu = ip6() ? type == 2 : type == 3 && code == 4;
    const IcmpErrorNote note{
        .type = type, .code = code, .is_ip6 = ip6(), .outer = outer, .mtu = is_mtu ? rest : 0};
    std::memcpy(b->opaque, &note, sizeof note);
    b->rx_if = rx_if;
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
  ASSERT_EQ(bed.failing.size(), 1u);
  EXPECT_EQ(bed.failing[0], std::pair(SessionId{100}, uint16_t{ECONNREFUSED}));
  EXPECT_EQ(count("refused"), 1u);
}

TEST_P(UdpError, WhoHasOneInterfaceAloneBelievesWhatComesByThat) {
  bed.options.interface = 4;
  bed.connect(7, ip6());
  port_unreachable();
  EXPECT_EQ(count("no-connection"), 1u);
  EXPECT_TRUE(bed.failing.empty());
  rx_if = 4;
  port_unreachable();
  EXPECT_EQ(count("refused"), 1u);
  EXPECT_EQ(bed.failing.size(), 1u);
}

TEST_P(UdpError, TheBoundAndStrangersHearNothing) {
  const ConnId c = bed.bind(40'000, ip6());
  port_unreachable();
  port_unreachable(1);
  EXPECT_EQ(count("no-connection"), 2u);
  // Nor of what it has sent there: a call that concerns another destination must not fail.
  bed.send(c, "hello", bed.to(bed.remote(ip6()), 7));
  port_unreachable();
  EXPECT_TRUE(bed.failing.empty());
  EXPECT_EQ(count("no-connection"), 3u);
}

TEST_P(UdpError, ErrorsThatMayPassAreIgnored) {
  bed.connect(7, ip6());
  ip6() ? error(1, 0) : error(3, 1);
  ip6() ? error(3, 0) : error(11, 0);
  EXPECT_TRUE(bed.failing.empty());
  EXPECT_EQ(count("ignored"), 2u);
}

// What Linux 6.18 tells (icmp_err_convert, icmpv6_err_convert, and what __udp4_lib_err and
// icmp_unreach leave out), as system_udp_control_errors has it from the kernel of this machine.
std::pair<int, bool> told_by_linux(bool ip6, int type, int code) {
  constexpr std::pair<int, bool> kUnreachable4[] = {
      {ENETUNREACH, false},  {EHOSTUNREACH, false}, {ENOPROTOOPT, true},  {ECONNREFUSED, true},
      {EMSGSIZE, true},      {EOPNOTSUPP, false},   {ENETUNREACH, true},  {EHOSTDOWN, true},
      {ENONET, true},        {ENETUNREACH, true},   {EHOSTUNREACH, true}, {ENETUNREACH, false},
      {EHOSTUNREACH, false}, {EHOSTUNREACH, true},  {EHOSTUNREACH, true}, {EHOSTUNREACH, true}};
  constexpr std::pair<int, bool> kUnreachable6[] = {
      {ENETUNREACH, false}, {EACCES, true}, {EHOSTUNREACH, false}, {EHOSTUNREACH, false},
      {ECONNREFUSED, true}, {EACCES, true}, {EACCES, true}};
  if (!ip6) {
    if (type == 3) return code < 16 ? kUnreachable4[code] : std::pair(0, false);
    if (type == 11) return {code == 1 ? 0 : EHOSTUNREACH, false};
    return type == 12 ? std::pair(EPROTO, true) : std::pair(0, false);
  }
  if (type == 1) return code < 7 ? kUnreachable6[code] : std::pair(EPROTO, true);
  if (type == 2) return {EMSGSIZE, true};
  if (type == 3) return {EHOSTUNREACH, false};
  return {EPROTO, type == 4};
}

TEST_P(UdpError, EveryTypeAndCodeIsToldAsByLinux) {
  const ConnId c = bed.connect(7, ip6());
  for (const bool wants_all : {false, true}) {
    bed.options.ip4_errors = bed.options.ip6_errors = wants_all;
    ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
    for (int type = 0; type < 128; ++type)
      for (int code = 0; code < 256; ++code) {
        SCOPED_TRACE(testing::Message() << "type " << type << " code " << code);
        const auto [expected, is_hard] = told_by_linux(ip6(), type, code);
        bed.failing.clear();
        bed.queued.clear();
        error(static_cast<uint8_t>(type), static_cast<uint8_t>(code), 1300);
        ASSERT_EQ(bed.queued.size(), wants_all && expected != 0 ? 1u : 0u);
        ASSERT_EQ(bed.failing.size(), !wants_all && is_hard ? 1u : 0u);
        if (!bed.failing.empty()) {
          ASSERT_EQ(bed.failing[0].second, expected);
        }
        if (!bed.queued.empty()) {
          ASSERT_EQ(bed.queued[0].e.error, expected);
        }
      }
  }
}

TEST_P(UdpError, WhetherTooBigIsToldIsThePathModes) {  // man 7 ip: IP_MTU_DISCOVER
  const ConnId c = bed.connect(7, ip6());
  for (const bool wants_all : {false, true})
    for (const PathMtu mode : {PathMtu::kDont, PathMtu::kWant, PathMtu::kDo, PathMtu::kProbe,
                               PathMtu::kInterface, PathMtu::kOmit}) {
      SCOPED_TRACE(static_cast<int>(mode));
      bed.options.ip4_errors = bed.options.ip6_errors = wants_all;
      bed.options.ip4_path_mtu = bed.options.ip6_path_mtu = mode;
      ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
      bed.failing.clear();
      bed.queued.clear();
      ip6() ? error(2, 0, 1300) : error(3, 4, 1300);
      const bool is_link = mode == PathMtu::kInterface || mode == PathMtu::kOmit;
      const bool is_told =
          ip6() ? !is_link && (wants_all || mode != PathMtu::kDont) : mode != PathMtu::kDont;
      EXPECT_EQ(bed.failing.size(), is_told && !wants_all ? 1u : 0u);
      EXPECT_EQ(bed.queued.size(), is_told && wants_all ? 1u : 0u);
    }
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
  EXPECT_EQ(count("hard-error"), ip6() ? 1u : 0u);
  EXPECT_EQ(count("path-mtu"), ip6() ? 2u : 3u);
  bed.fake.advance_to(bed.fake.worker.now + 599 * kSecond);
  EXPECT_FALSE(fits());
  bed.fake.advance_to(bed.fake.worker.now + kSecond);
  EXPECT_TRUE(fits());
}

TEST_P(UdpError, APathMtuIsTheDestinationsForAllThatSendThere) {
  const ConnId bound = bed.bind(40'000, ip6());
  bed.options.ip4_path_mtu = bed.options.ip6_path_mtu = PathMtu::kDo;
  const ConnId other = bed.bind(50'000, ip6());
  const auto mtu = [&](uint32_t n) { ip6() ? error(2, 0, n) : error(3, 4, n); };
  const Datagram there = bed.to(bed.remote(ip6()), 7);
  const auto refused = [&] {
    return bed.count(ip6() ? "udp6-output/too-big" : "udp4-output/too-big");
  };
  // Of what was never sent anywhere somebody makes it up (RFC 5927).
  mtu(1300);
  EXPECT_EQ(count("no-connection"), 1u);
  bed.send(bound, std::string(1400, 'a'), there);
  bed.send(other, std::string(1400, 'a'), there);
  EXPECT_EQ(refused(), 0u);
  mtu(1300);
  EXPECT_EQ(count("path-mtu"), 1u);
  bed.send(other, std::string(1400, 'a'), there);
  EXPECT_EQ(refused(), 1u);
  EXPECT_EQ(bed.ops().path_mtu(bed.fake.worker, other, bed.remote(ip6()), 0), 1300u);
  // One that gets its peer later knows it as well; and one that had it before hears of more.
  const ConnId peer = bed.connect(7, ip6());
  ConnectionInfo info;
  bed.ops().info(bed.fake.worker, peer, info);
  EXPECT_EQ(info.pmtu, 1300u);
  bed.ops().abort(bed.fake.worker, peer);
  mtu(1290);
  EXPECT_EQ(bed.ops().path_mtu(bed.fake.worker, other, bed.remote(ip6()), 0), 1290u);
  bed.fake.advance_to(bed.fake.worker.now + 600 * kSecond);
  bed.send(other, std::string(1400, 'a'), there);
  EXPECT_EQ(refused(), 1u);
  EXPECT_TRUE(bed.received.empty());
}

TEST_P(UdpError, WhatOneWorkerHearsOfAPathTheOthersAreTold) {
  udp::shared().n_workers = 3;
  const ConnId c = bed.bind(40'000, ip6());
  const auto mtu = [&](uint32_t n) { ip6() ? error(2, 0, n) : error(3, 4, n); };
  const auto known = [&] { return bed.ops().path_mtu(bed.fake.worker, c, bed.remote(ip6()), 0); };
  bed.send(c, "first", bed.to(bed.remote(ip6()), 7));
  mtu(1300);
  auto& told = bed.fake.handed_off;
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].first, 1u);
  EXPECT_EQ(told[1].first, 2u);
  EXPECT_EQ(told[0].second.node, "udp-path-mtu");
  mtu(1300);  // known to all
  mtu(1400);
  EXPECT_EQ(told.size(), 2u);
  mtu(1290);
  ASSERT_EQ(told.size(), 4u);
  Buffer *first = told[0].second.packet, *second = told[2].second.packet;
  told.pop_front();
  told.erase(told.begin() + 1);
  // As a worker that has sent there, and has heard nothing.
  bed.fake.advance_to(bed.fake.worker.now + 600 * kSecond);
  const uint32_t link = known();
  EXPECT_GT(link, 1300u);
  bed.fake.deliver("udp-path-mtu", {first});
  EXPECT_EQ(known(), 1300u);
  bed.fake.deliver("udp-path-mtu", {second});
  EXPECT_EQ(known(), 1290u);
  EXPECT_EQ(bed.count("udp-path-mtu/learnt"), 2u);
  EXPECT_EQ(told.size(), 2u) << "it goes no further";
}

TEST_P(UdpError, AWorkerThatHasNotSentThereForgetsWhatItIsTold) {
  udp::shared().n_workers = 2;
  const ConnId c = bed.bind(40'000, ip6());
  bed.send(c, "first", bed.to(bed.remote(ip6()), 7));
  ip6() ? error(2, 0, 1300) : error(3, 4, 1300);
  Buffer* news = bed.fake.handed_off.at(0).second.packet;
  bed.fake.handed_off.clear();
  udp::stop(bed.fake.host);
  EXPECT_TRUE(udp::start(bed.fake.host));
  bed.fake.deliver("udp-path-mtu", {news, bed.fake.worker.alloc()});
  EXPECT_EQ(bed.count("udp-path-mtu/not-sent-there"), 1u);
  EXPECT_EQ(bed.count("udp-path-mtu/too-short"), 1u);
}

TEST(UdpDestinations, WhatARouterHasSaidIsForgottenLast) {
  udp::Destinations all(7);
  const auto address = [](uint32_t i) {
    return IpAddress(Ip4Address{{10, static_cast<uint8_t>(i >> 16), static_cast<uint8_t>(i >> 8),
                                 static_cast<uint8_t>(i)}});
  };
  constexpr uint32_t kMany = 20 * udp::Destinations::kEntries;
  all.get(address(0), 0, 1).learn(1300, 1);
  for (uint32_t i = 1; i < kMany; ++i) (void)all.get(address(i), 0, 1 + i);
  const udp::Destination* known = all.find(address(0), 0);
  ASSERT_NE(known, nullptr);
  EXPECT_EQ(known->path_mtu(1), 1300u);
  EXPECT_EQ(all.n_known_paths(1), 1u);
  // Once it is old it is one like the others.
  for (uint32_t i = 1; i < kMany; ++i) (void)all.get(address(i), 0, 1 + udp::kPathMtuAge + i);
  EXPECT_EQ(all.find(address(0), 0), nullptr);
}

// --- IP_RECVERR, IPV6_RECVERR (man 7 ip)

TEST_P(UdpError, WhoWantsAllErrorsHasThemWithWhatTheyQuote) {
  bed.options.ip4_errors = !ip6();
  bed.options.ip6_errors = ip6();
  const ConnId bound = bed.bind(40'000, ip6());
  port_unreachable();  // of what was never sent
  EXPECT_EQ(count("no-connection"), 1u);
  bed.send(bound, "prob", bed.to(bed.remote(ip6()), 7));
  struct Case {
    uint8_t type4, code4, type6, code6;
    int error4, error6;
    uint32_t rest4, rest6;  // the word after ICMP's checksum; what becomes of it is `info`
    uint32_t info4, info6;
  };
  for (const Case& c : {Case{3, 3, 1, 4, ECONNREFUSED, ECONNREFUSED, 0, 0, 0, 0},
                        Case{3, 1, 1, 0, EHOSTUNREACH, ENETUNREACH, 77, 77, 0, 77},
                        Case{3, 13, 1, 1, EHOSTUNREACH, EACCES, 0, 0, 0, 0},
                        Case{3, 4, 2, 0, EMSGSIZE, EMSGSIZE, 0, 1000, 0, 1000},
                        Case{11, 0, 3, 0, EHOSTUNREACH, EHOSTUNREACH, 0, 0, 0, 0},
                        Case{12, 0, 4, 0, EPROTO, EPROTO, 20u << 24, 40, 20, 40}}) {
    // Routers quote more than there was (RFC 4884 pads).
    ip6() ? error(c.type6, c.code6, c.rest6, 40'000, 0, "probe")
          : error(c.type4, c.code4, c.rest4, 40'000, 0, "probe");
    const auto& q = bed.queued.back();
    EXPECT_EQ(q.session, 100u);
    EXPECT_EQ(q.quoted, "prob");
    EXPECT_EQ(q.e.error, ip6() ? c.error6 : c.error4);
    EXPECT_EQ(q.e.origin, ip6() ? 3 : 2);
    EXPECT_EQ(q.e.type, ip6() ? c.type6 : c.type4);
    EXPECT_EQ(q.e.code, ip6() ? c.code6 : c.code4);
    EXPECT_EQ(q.e.offender, router());
    EXPECT_EQ(q.e.ends.remote, bed.remote(ip6()));
    EXPECT_EQ(q.e.ends.remote_port, 7);
    EXPECT_EQ(q.e.ends.local_port, 40'000);
    EXPECT_EQ(q.e.info, ip6() ? c.info6 : c.info4);
    EXPECT_EQ(q.e.to, bed.local(ip6()));
    EXPECT_EQ(q.e.interface, rx_if);
    EXPECT_EQ(q.e.tos, 0x48);
    EXPECT_EQ(q.e.ttl, 61);
  }
  EXPECT_EQ(count("queued"), 6u);
  EXPECT_TRUE(bed.failing.empty());
  bed.rx_answer = Status::kAgain;
  port_unreachable();
  EXPECT_EQ(count("queue-full"), 1u);
}

TEST_P(UdpError, TooBigIsToldToWhoWantsItByRoutersAndByThisHost) {
  bed.options.ip4_errors = bed.options.ip6_errors = true;
  bed.options.ip4_path_mtu = bed.options.ip6_path_mtu = PathMtu::kDo;
  const ConnId c = bed.bind(40'000, ip6());
  const Datagram there = bed.to(bed.remote(ip6()), 7);
  bed.send(c, std::string(1400, 'a'), there);
  ip6() ? error(2, 0, 1300) : error(3, 4, 1300);
  ASSERT_EQ(bed.queued.size(), 1u);
  EXPECT_EQ(bed.queued[0].e.error, EMSGSIZE);
  EXPECT_EQ(bed.queued[0].e.info, 1300u);
  bed.send(c, std::string(1400, 'b'), there);
  ASSERT_EQ(bed.queued.size(), 2u);
  EXPECT_EQ(bed.queued[1].e.error, EMSGSIZE);
  EXPECT_EQ(bed.queued[1].e.info, 1300u);
  EXPECT_EQ(bed.queued[1].e.origin, 1);
  EXPECT_TRUE(bed.queued[1].e.offender.is_zero());
  EXPECT_EQ(bed.queued[1].e.ends.remote, bed.remote(ip6()));
  // Who lets others split it has nothing to do about it.
  bed.options.ip4_path_mtu = PathMtu::kDont;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  ip6() ? error(2, 0, 1290) : error(3, 4, 1200);
  EXPECT_EQ(bed.queued.size(), ip6() ? 3u : 2u);
}

}  // namespace
}  // namespace loom::test
