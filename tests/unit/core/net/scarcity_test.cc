// What happens when something runs out: rings to worker 0, neighbours, buffers, fragments.
#include "net/neighbor/to_worker0.h"
#include "net_host.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kZeroMac = "00:00:00:00:00:00";
constexpr const char* kSecondMac = "02:00:00:00:00:02";
constexpr uint32_t kTooMany = 10;

// A burst for worker 0 arrives on worker 1 while worker 0 is busy elsewhere: the ring takes what it
// has room for, some more wait, and the rest is dropped.
class HandoffTest : public ::testing::Test {
 protected:
  HandoffTest()
      : first(host.add_device({"10.0.0.2/24", "2001:db8::2/64"})),
        second(host.add_device({"10.0.1.2/24", "2001:db8:1::2/64"})) {}
  void expect_full(const Bytes& frame, const std::string& node) {
    for (uint32_t i = 0; i < kTaken + kTooMany; ++i) second.inject(frame);
    while (!second.to_receive.empty()) host.engine->step(1);
    host.engine->step(1);
    EXPECT_EQ(host.counter(node + "/handed-off"), kTaken);
    EXPECT_EQ(host.counter(node + "/handoff-full"), kTooMany);
    host.run();
  }
  static constexpr uint32_t kTaken = Handoff::kRing + 1 + kMostBehind;
  NetHost host{{}, 2};
  FakeDevice &first, &second;  // the second one's queue is on worker 1
};

TEST_F(HandoffTest, ArpPacketsThatFindTheRingFull) {
  expect_full(ethernet("ff:ff:ff:ff:ff:ff", NetHost::kPeerMac, 0x0806,
                       make_arp(1, NetHost::kPeerMac, "10.0.1.1", kZeroMac, "10.0.1.2")),
              "arp-input");
  EXPECT_EQ(host.counter("arp-input/request-answered"), kTaken);
}

TEST_F(HandoffTest, WaitingPacketsThatFindTheRingFull) {
  expect_full(ethernet(kSecondMac, NetHost::kPeerMac, 0x0800,
                       make_ip4({.src = "10.0.1.1", .dst = "10.0.0.9"}, counting(20))),
              "neighbor-resolve");
  EXPECT_EQ(host.counter("neighbor-resolve/waiting"), kTaken);
}

TEST_F(HandoffTest, SolicitationsThatFindTheRingFull) {
  const char *src = "2001:db8:1::1", *dst = "2001:db8:1::2";
  expect_full(ethernet(kSecondMac, NetHost::kPeerMac, 0x86dd,
                       make_ip6({.src = src, .dst = dst, .hop_limit = 255},
                                make_icmp6(src, dst, 135, 0, 0,
                                           ip6(dst) + Bytes{1, 1} + mac(NetHost::kPeerMac)))),
              "icmp6-neighbor");
  EXPECT_EQ(host.counter("icmp6-neighbor/solicitation-answered"), kTaken);
}

TEST_F(HandoffTest, QueriesAboutGroupsThatFindTheRingFull) {
  Bytes query{0x11, 100, 0, 0, 0, 0, 0, 0};
  put16(query, 2, plain_checksum(query));
  expect_full(
      ethernet("01:00:5e:00:00:01", NetHost::kPeerMac, 0x0800,
               make_ip4({.src = "10.0.1.1", .dst = "224.0.0.1", .protocol = 2, .ttl = 1}, query)),
      "igmp-input");
  EXPECT_EQ(host.counter("igmp-input/query"), kTaken);
  const char *src = "fe80::1", *dst = "ff02::1";
  const Bytes alert{58, 0, 5, 2, 0, 0, 1, 0};
  expect_full(ethernet("33:33:00:00:00:01", NetHost::kPeerMac, 0x86dd,
                       make_ip6({.src = src, .dst = dst, .next_header = 0, .hop_limit = 1},
                                alert + make_icmp6(src, dst, 130, 0, 1000u << 16, ip6("::")))),
              "mld-input");
  EXPECT_EQ(host.counter("mld-input/query"), kTaken);
}

// What else worker 0 has to do fills the ring, too.
TEST_F(HandoffTest, NeighboursAreHeardBehindWhateverWaits) {
  Worker& w = host.engine->worker(1);
  const NodeId lookup = host.engine->find_node("ip4-lookup");
  const Bytes packet = make_ip4({.src = "10.0.0.1", .dst = "192.0.2.1"}, counting(20));
  for (uint32_t i = 0; i < Handoff::kRing + 100; ++i) {
    Buffer* b = w.alloc();
    ASSERT_NE(b, nullptr);
    ASSERT_TRUE(chain_append(w, *b, std::as_bytes(std::span(packet))));
    w.hand_off(0, lookup, {&b, 1});
  }
  host.engine->step(1);
  ASSERT_TRUE(host.engine->hand_off_waits(1, 0));
  second.inject(ethernet("ff:ff:ff:ff:ff:ff", NetHost::kPeerMac, 0x0806,
                         make_arp(1, NetHost::kPeerMac, "10.0.1.1", kZeroMac, "10.0.1.2")));
  host.engine->step(1);
  host.run();
  EXPECT_EQ(host.counter("arp-input/request-answered"), 1u);
  EXPECT_EQ(host.counter("arp-input/handoff-full"), 0u);
}

// Bytes of an application, which the worker that sends them counts, and gives back.
struct CountedOwner : ExternalOwner {
  std::vector<uint32_t> released_on;
};

TEST_F(HandoffTest, ApplicationsBytesStayWithTheirWorkerWhenAPacketWaitsForANeighbour) {
  CountedOwner owner;
  owner.release = [](Worker& w, ExternalOwner& o, uint32_t) noexcept {
    static_cast<CountedOwner&>(o).released_on.push_back(w.index);
  };
  Worker& w = host.engine->worker(1);
  const Bytes header = make_ip4({.src = "10.0.1.2", .dst = "10.0.0.9"}, counting(20));
  const Bytes payload = part(header, 20);
  Buffer* b = w.alloc();
  ASSERT_NE(b, nullptr);
  ASSERT_TRUE(chain_append(w, *b, std::as_bytes(std::span(header).first(20))));
  b->next = w.alloc_external(std::as_bytes(std::span(payload)), &owner, 0);
  b->rest_len = 20;
  b->flags |= kBufferLocallyOriginated;
  w.enqueue_to_node(host.engine->find_node("ip4-lookup"), b);
  host.engine->step(1);
  EXPECT_THAT(owner.released_on, ElementsAre(1));
  host.run();
  EXPECT_EQ(host.counter("neighbor-resolve/waiting"), 1u);
  EXPECT_THAT(owner.released_on, SizeIs(1));
  host.receive(first,
               ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0806,
                        make_arp(2, NetHost::kPeerMac, "10.0.0.9", NetHost::kOwnMac, "10.0.0.2")));
  const auto sent = first.take_sent();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(part(sent.back().bytes, 14 + 20), payload);
}

// What waits on worker 0 is freed before those end whose bytes it refers to.
TEST(Scarcity, NothingRefersToAnApplicationOnceInterfacesAreGone) {
  NetHost host;
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  CountedOwner owner;
  owner.release = [](Worker& w, ExternalOwner& o, uint32_t) noexcept {
    static_cast<CountedOwner&>(o).released_on.push_back(w.index);
  };
  const Bytes payload = counting(20);
  Buffer* b = host.make(part(make_ip4({.src = "10.0.0.2", .dst = "10.0.0.9"}, payload), 0, 20));
  b->next = host.worker().alloc_external(std::as_bytes(std::span(payload)), &owner, 0);
  b->rest_len = 20;
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  EXPECT_EQ(host.counter("neighbor-resolve/waiting"), 1u);
  ASSERT_EQ(host.net->remove_interface(wire.index), Status::kOk);
  host.engine->free_pending();
  EXPECT_THAT(owner.released_on, ElementsAre(0));
}

TEST(Scarcity, NeighbourTableThatIsFullOfStaticOnes) {
  NetHost host({.max_neighbors = 4});
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  for (const char* a : {"10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"}) host.know(wire, a);
  Buffer* b = host.make(make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1"}, counting(20)));
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  EXPECT_EQ(host.counter("neighbor-resolve/table-full"), 1u);
  EXPECT_EQ(host.counter("neighbor-table/table-full"), 1u);
  EXPECT_THAT(host.net->neighbors(), SizeIs(4));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST(Scarcity, NoBufferToAskANeighbourWith) {
  NetHost host;
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  const auto taken = host.take_buffers(1);
  Buffer* b = host.make(make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1"}, counting(20)));
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  EXPECT_EQ(host.counter("neighbor-table/request-not-sent"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  host.worker().free(taken);
  host.pass(kSecond + kMillisecond);  // the next attempt has one
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
}

TEST(Scarcity, NoBufferToAnswerASolicitationWith) {
  NetHost host;
  FakeDevice& wire = host.add_device({"2001:db8::2/64"});
  const char *src = "2001:db8::1", *dst = "2001:db8::2";
  const auto taken = host.take_buffers(1);
  host.receive(wire,
               ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd,
                        make_ip6({.src = src, .dst = dst, .hop_limit = 255},
                                 make_icmp6(src, dst, 135, 0, 0,
                                            ip6(dst) + Bytes{1, 1} + mac(NetHost::kPeerMac)))));
  EXPECT_EQ(host.counter("icmp6-neighbor/no-buffer"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  host.worker().free(taken);
}

class FragmentTest : public ::testing::Test {
 protected:
  FragmentTest() : wire(host.add_device({"10.0.0.2/24"})) { host.know(wire, "10.0.0.1"); }
  Buffer* packet(std::size_t payload) {
    Buffer* b = host.make(
        make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 17}, counting(payload)));
    b->flags |= kBufferLocallyOriginated;
    return b;
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(FragmentTest, NoBuffersForTheFragments) {
  Buffer* b = packet(4000);  // two buffers; three fragments
  const auto taken = host.take_buffers(2);
  host.enqueue("ip4-lookup", b);
  EXPECT_EQ(host.counter("ip4-fragment/no-buffer"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  host.worker().free(taken);
  host.enqueue("ip4-lookup", packet(4000));
  EXPECT_THAT(wire.take_sent(), SizeIs(3));
}

TEST_F(FragmentTest, AsManyAsFitIntoAFrameAndNoMore) {
  must(host.net->set_mtu(wire.index, 68));  // 48 bytes of payload each
  host.enqueue("ip4-lookup", packet(256 * 48));
  EXPECT_THAT(wire.take_sent(), SizeIs(256));
  host.enqueue("ip4-lookup", packet(256 * 48 + 1));
  EXPECT_EQ(host.counter("ip4-fragment/too-many"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

// The longest header leaves 8 bytes on the smallest link (RFC 791 section 3.2).
TEST_F(FragmentTest, LongestHeaderOnTheSmallestLink) {
  must(host.net->set_mtu(wire.index, 68));
  const Bytes p = make_ip4({.src = "10.0.0.2",
                            .dst = "10.0.0.1",
                            .protocol = 17,
                            .options = Bytes{0x88, 40} + Bytes(38)},
                           counting(24));
  Buffer* b = host.make(p);
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(3));
  Bytes joined;
  for (const auto& f : sent) joined = joined + part(f.bytes, 14 + 60);
  EXPECT_EQ(joined, counting(24));
}

}  // namespace
}  // namespace loom
