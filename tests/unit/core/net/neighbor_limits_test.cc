// The neighbour table's limits, what it tells, and emptying it; pings that nobody waits for.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Neighbors : public ::testing::Test {
 protected:
  explicit Neighbors() : wire(host.add_device({"10.0.0.2/16", "2001:db8::2/64"})) {
    host.pass(2 * kSecond);
    wire.take_sent();
  }
  // Somebody asks for us: that is how most neighbours are learned.
  void hear(const std::string& who, const std::string& with = NetHost::kPeerMac) {
    host.receive(wire, ethernet("ff:ff:ff:ff:ff:ff", with, 0x0806,
                                make_arp(1, with, who, "00:00:00:00:00:00", "10.0.0.2")));
  }
  std::vector<std::string> known() {
    std::vector<std::string> all;
    for (const auto& n : host.net->neighbors()) all.push_back(n.address.str());
    std::sort(all.begin(), all.end());
    return all;
  }
  NetHost host{{.max_neighbors = 64}};
  FakeDevice& wire;
};

TEST_F(Neighbors, LimitIsOfOneFamily) {
  must(host.net->set_neighbor_limits(true, {.max_number = 2}));
  hear("10.0.0.11");
  hear("10.0.0.12");
  hear("10.0.0.13");
  EXPECT_THAT(known(), ElementsAre("10.0.0.11", "10.0.0.12"));
  EXPECT_EQ(host.counter("neighbor-table/table-full"), 1u);
  host.know(wire, "2001:db8::1");
  EXPECT_THAT(known(), SizeIs(3));
  const auto refused =
      host.net->add_neighbor(wire.index, *IpAddress::parse("10.0.0.14"), {{2, 0, 0, 0, 0, 1}});
  EXPECT_EQ(refused.error().code, Status::kNoMemory);
  EXPECT_EQ(host.net->set_neighbor_limits(true, {.max_number = 65}).error().code, Status::kInvalid);
  EXPECT_FALSE(host.net->set_neighbor_limits(true, {.max_number = 0}));
}

TEST_F(Neighbors, OldOnesMakeRoomWhereTheyMay) {
  must(host.net->set_neighbor_limits(true, {.max_number = 2, .can_evict = true}));
  hear("10.0.0.11");
  host.pass(kSecond);
  hear("10.0.0.12");
  host.pass(kSecond);
  hear("10.0.0.13");
  EXPECT_THAT(known(), ElementsAre("10.0.0.12", "10.0.0.13"));
  host.know(wire, "10.0.0.20");
  host.know(wire, "10.0.0.21");
  hear("10.0.0.14");  // static ones stay
  EXPECT_THAT(known(), ElementsAre("10.0.0.20", "10.0.0.21"));
}

TEST_F(Neighbors, UnusedOnesAreForgottenAtTheirAge) {
  must(host.net->set_neighbor_limits(true, {.max_number = 64, .max_age = 20 * kSecond}));
  hear("10.0.0.11");
  host.pass(15 * kSecond);
  EXPECT_THAT(known(), SizeIs(1));
  host.pass(10 * kSecond);
  EXPECT_THAT(known(), IsEmpty());
  must(host.net->set_neighbor_limits(true, {.max_number = 64, .max_age = 0}));
  hear("10.0.0.11");
  host.pass(3600 * kSecond);
  EXPECT_THAT(known(), SizeIs(1));
}

TEST_F(Neighbors, OneThatIsNotStaticAges) {
  must(host.net->add_neighbor(wire.index, *IpAddress::parse("10.0.0.11"), {{2, 0, 0, 0, 0, 9}},
                              /*is_static=*/false));
  EXPECT_EQ(host.net->neighbors()[0].state, NeighborState::kReachable);
  host.pass(31 * kSecond);
  EXPECT_EQ(host.net->neighbors()[0].state, NeighborState::kStale);
  host.pass(700 * kSecond);
  EXPECT_THAT(known(), IsEmpty());
  for (const char* bad : {"0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::", "10.0.0.2"})
    EXPECT_FALSE(host.net->add_neighbor(wire.index, *IpAddress::parse(bad), {{2, 0, 0, 0, 0, 9}}))
        << bad;
}

TEST_F(Neighbors, FlushForgetsAFamilyOnAnInterface) {
  FakeDevice& other = host.add_device({"10.1.0.2/24"});
  hear("10.0.0.11");
  host.know(wire, "10.0.0.12");
  host.know(wire, "2001:db8::1");
  host.know(other, "10.1.0.1");
  must(host.net->flush_neighbors(wire.index, true));
  EXPECT_THAT(known(), ElementsAre("10.1.0.1", "2001:db8::1"));
  must(host.net->flush_neighbors(kNoIndex, true));
  EXPECT_THAT(known(), ElementsAre("2001:db8::1"));
  EXPECT_EQ(host.net->flush_neighbors(99, true).error().code, Status::kNotFound);
}

TEST_F(Neighbors, NewsAreToldOnceEach) {
  std::vector<std::string> news;
  host.net->watch_neighbors(
      [&](const NeighborListing& n) { news.push_back(n.address.str() + " " + n.mac.str()); });
  hear("10.0.0.11", "02:00:00:00:00:11");
  hear("10.0.0.11", "02:00:00:00:00:11");  // nothing new
  hear("10.0.0.11", "02:00:00:00:00:12");
  host.know(wire, "10.0.0.13", "02:00:00:00:00:13");
  host.run();
  EXPECT_THAT(news, ElementsAre("10.0.0.11 02:00:00:00:00:11", "10.0.0.11 02:00:00:00:00:12",
                                "10.0.0.13 02:00:00:00:00:13"));
  host.net->watch_neighbors({});
  hear("10.0.0.14");
  host.run();
  EXPECT_THAT(news, SizeIs(3));
}

TEST_F(Neighbors, MoreNewsThanFitAreLostAndCounted) {
  std::size_t n = 0;
  host.net->watch_neighbors([&](const NeighborListing&) { ++n; });
  // As many as worker 0 finds before control has a turn: one neighbour, ever elsewhere.
  const IpAddress who = *IpAddress::parse("10.0.0.11");
  for (std::size_t i = 0; i < NeighborNewsQueue::kMost + 5; ++i)
    must(host.net->add_neighbor(wire.index, who, {{2, 0, 0, 0, 0, static_cast<uint8_t>(i)}}));
  EXPECT_EQ(host.counter("neighbor-table/news-lost"), 5u);
  host.run();
  EXPECT_EQ(n, NeighborNewsQueue::kMost);
  hear("10.0.0.12");
  host.run();
  EXPECT_EQ(n, NeighborNewsQueue::kMost + 1);  // there is room again
  EXPECT_EQ(host.counter("neighbor-table/news-lost"), 5u);
}

TEST_F(Neighbors, WhoIsToldMayEndIt) {
  int n = 0;
  host.net->watch_neighbors([&, kept = std::make_shared<int>(1)](const NeighborListing&) {
    host.net->watch_neighbors({});
    n += *kept;  // what the callback holds is there until it returns
  });
  host.know(wire, "10.0.0.11");
  host.know(wire, "10.0.0.12");
  host.run();
  EXPECT_EQ(n, 1);
}

class PingRun : public Neighbors {
 protected:
  using Outcome = std::vector<std::pair<uint32_t, uint32_t>>;
  Result<uint64_t> start(const char* to, uint32_t count, TimeNs interval) {
    return host.net->start_ping(
        *IpAddress::parse(to), count, interval, 0,
        [this](const PingOutcome& o) { over.emplace_back(o.n_sent, o.replies.size()); });
  }
  void answer(const SentFrame& f) {
    const Bytes p = part(f.bytes, 14);
    host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                                make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"},
                                         make_icmp4(0, 0, get32(p, 24), part(p, 28)))));
  }
  Outcome over;
};

TEST_F(PingRun, SendsAtIntervalsAndEndsWithTheLastAnswer) {
  host.know(wire, "10.0.0.1");
  must(start("10.0.0.1", 3, 10 * kSecond));
  EXPECT_THAT(over, IsEmpty());  // the caller goes on
  for (int i = 0; i < 3; ++i) {
    host.run();
    const auto sent = wire.take_sent();
    ASSERT_THAT(sent, SizeIs(1)) << i;
    answer(sent[0]);
    answer(sent[0]);  // a duplicate counts once
    if (i < 2) host.pass(10 * kSecond);
  }
  host.run();
  EXPECT_THAT(over, ElementsAre(std::pair(3u, 3u)));
  host.pass(60 * kSecond);
  EXPECT_THAT(over, SizeIs(1));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(PingRun, WithoutAnswersEndsAnIntervalAfterTheLast) {
  host.know(wire, "10.0.0.1");
  must(start("10.0.0.1", 2, 100 * kMillisecond));
  host.pass(kSecond);
  EXPECT_THAT(over, IsEmpty());
  host.pass(200 * kMillisecond);
  EXPECT_THAT(over, ElementsAre(std::pair(2u, 0u)));
}

TEST_F(PingRun, NoWayIsNoRequest) {
  must(start("172.16.0.1", 2, 0));
  host.pass(kSecond);
  EXPECT_THAT(over, ElementsAre(std::pair(0u, 0u)));
}

TEST_F(PingRun, ABoundedNumberAtOnce) {
  host.know(wire, "10.0.0.1");
  for (uint32_t i = 0; i < Net::kMaxPingRuns; ++i) must(start("10.0.0.1", 1, kSecond));
  EXPECT_EQ(start("10.0.0.1", 1, kSecond).error().code, Status::kInUse);
  host.run();
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(Net::kMaxPingRuns));
  for (const auto& f : sent) answer(f);
  host.run();
  EXPECT_THAT(over, SizeIs(Net::kMaxPingRuns));
  must(start("10.0.0.1", 1, kSecond));  // there is room again, and the host goes in the middle
}

TEST_F(PingRun, OneThatIsCancelledSendsNoMoreAndTellsNobody) {
  host.know(wire, "10.0.0.1");
  const uint64_t first = must(start("10.0.0.1", 10, kSecond));
  must(start("10.0.0.1", 2, kSecond));
  host.run();
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  host.net->cancel_ping(first);
  host.net->cancel_ping(first);  // nothing happens
  for (const auto& f : sent) answer(f);
  host.pass(kSecond);
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  host.pass(20 * kSecond);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_THAT(over, ElementsAre(std::pair(2u, 1u)));
}

TEST_F(PingRun, RefusesWhatMakesNoSense) {
  EXPECT_FALSE(start("10.0.0.1", 0, 0));
  EXPECT_FALSE(start("10.0.0.1", 1001, 0));
  EXPECT_FALSE(start("10.0.0.1", 1, 61 * kSecond));
  const auto endless = start("10.0.0.1", 61, kSecond);
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().message, "count 61 times the interval is above 60 s");
  EXPECT_FALSE(host.net->start_ping(*IpAddress::parse("10.0.0.1"), 1, 0, 9, {}));
}

}  // namespace
}  // namespace loom
