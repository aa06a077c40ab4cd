// Datagrams whose port is bound by a socket that does not hear the link they came by: others on the
// port, on whichever worker they live.
#include "udp_bed.h"

namespace loom::test {
namespace {

struct UdpHearers : testing::TestWithParam<bool> {
  UdpBed bed;
  bool ip6() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Ip, UdpHearers, testing::Bool(),
                         [](const auto& i) { return i.param ? "v6" : "v4"; });

TEST_P(UdpHearers, MayLiveOnAnotherWorkerThanWhoHasThePort) {  // packets come by 3
  udp::shared().n_workers = 4;
  // The packet that has been handed to that worker, to look for a hearer.
  const auto handed_to = [&](uint32_t worker) -> Buffer* {
    EXPECT_EQ(bed.fake.handed_off.size(), 1u);
    if (bed.fake.handed_off.empty()) return nullptr;
    EXPECT_EQ(bed.fake.handed_off[0].first, worker);
    EXPECT_EQ(bed.fake.handed_off[0].second.node, "udp-hearer");
    Buffer* b = bed.fake.handed_off[0].second.packet;
    bed.fake.handed_off.clear();
    return b;
  };
  const auto look_at = [&](uint32_t worker) {
    Buffer* b = handed_to(worker);
    bed.fake.worker.index = worker;
    bed.fake.deliver("udp-hearer", {b});
    bed.fake.worker.index = 0;
  };
  const auto sessions = [&] {
    std::vector<SessionId> all;
    for (const auto& r : bed.received) all.push_back(r.session);
    bed.received.clear();
    return all;
  };
  using Ids = std::vector<SessionId>;
  bed.options.reuseport = true;
  bed.options.interface = 4;
  const ConnId only = bed.bind(53, ip6());  // 100, that flows lead to
  // Sockets of another port: nobody is asked.
  udp::shared().n_bound[3] = 1;
  bed.receive({}, ip6());
  EXPECT_EQ(bed.count(ip6() ? "udp6-input/no-port" : "udp4-input/no-port"), 1u);
  EXPECT_TRUE(bed.fake.handed_off.empty());
  ASSERT_EQ(udp::shared().local_ports->of(0)->add({.port = 53, .reuseport = true}), Status::kOk);
  bed.receive({}, ip6());
  EXPECT_EQ(bed.count(ip6() ? "udp6-input/handed-off" : "udp4-input/handed-off"), 1u);
  look_at(3);  // nobody there, nor on 1 and 2, where there are no sockets
  EXPECT_EQ(bed.count("udp-hearer/no-port"), 1u);
  EXPECT_EQ(bed.fake.captured.back().node, ip6() ? "icmp6-error" : "icmp4-error");
  EXPECT_TRUE(bed.fake.handed_off.empty());
  EXPECT_EQ(sessions(), Ids{});
  // One that hears any link: the last to be asked has it, or the one that was before it.
  bed.receive({}, ip6());
  bed.options.interface = kNoIndex;
  bed.bind(53, ip6());  // 101
  look_at(3);
  EXPECT_EQ(sessions(), Ids{101});
  for (auto& [id, flow] : bed.flows) flow.conn = only;
  udp::shared().n_bound[2] = 1;
  bed.receive({}, ip6());  // here, and perhaps somebody who has asked for more
  look_at(2);
  look_at(3);
  look_at(0);
  EXPECT_EQ(sessions(), Ids{101});
  EXPECT_EQ(bed.count("udp-hearer/passed-on"), 2u);
  EXPECT_EQ(bed.count("udp-hearer/delivered"), 2u);
  // Who cannot be outdone is not asked about.
  bed.receive({}, ip6());
  bed.options.interface = 3;
  Endpoints e;
  e.local = bed.local(ip6());
  e.remote.is_ip4 = !ip6();
  e.local_port = 53;
  bed.open(e);  // 102
  look_at(2);
  EXPECT_EQ(sessions(), Ids{102});
  EXPECT_TRUE(bed.fake.handed_off.empty());
  EXPECT_EQ(bed.fake.node_total("udp-hearer"), bed.fake.packets_into("udp-hearer"));
}

TEST_P(UdpHearers, NobodyIsToldOfWhatCameToAGroup) {  // RFC 1122 section 3.2.2
  udp::shared().n_workers = 2;
  bed.options.interface = 4;
  bed.bind(53, ip6());
  udp::shared().n_bound[1] = 1;
  ASSERT_EQ(udp::shared().local_ports->of(0)->add({.port = 53, .reuseport = true}), Status::kOk);
  bed.receive({.flags = kBufferLinkGroup}, ip6());
  ASSERT_EQ(bed.fake.handed_off.size(), 1u);
  Buffer* b = bed.fake.handed_off[0].second.packet;
  bed.fake.handed_off.clear();
  bed.fake.worker.index = 1;
  bed.fake.deliver("udp-hearer", {b});
  bed.fake.worker.index = 0;
  EXPECT_EQ(bed.count("udp-hearer/no-port-group"), 1u);
  EXPECT_EQ(bed.count("udp-hearer/no-port"), 0u);
  EXPECT_TRUE(bed.fake.captured.empty());
}

}  // namespace
}  // namespace loom::test
