// ARP and the neighbour table, in virtual time.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kZeroMac = "00:00:00:00:00:00";
constexpr const char* kBroadcast = "ff:ff:ff:ff:ff:ff";
constexpr const char* kPeer = NetHost::kPeerMac;

class ArpTest : public ::testing::Test {
 protected:
  ArpTest() : wire(host.add_device({"10.0.0.2/24"})) {}
  void arp(uint16_t operation, const char* sender_mac, const char* sender_ip,
           const char* target_mac, const char* target_ip, const char* to = kBroadcast) {
    host.receive(wire, ethernet(to, sender_mac, 0x0806,
                                make_arp(operation, sender_mac, sender_ip, target_mac, target_ip)));
  }
  // An echo request of this host's own.
  void send(const std::string& dst, uint16_t id = 1) {
    Worker& w = host.worker();
    Buffer* b = w.alloc();
    const Bytes p =
        make_ip4({.src = "10.0.0.2", .dst = dst, .id = id}, make_icmp4(8, 0, id, counting(8)));
    ASSERT_TRUE(chain_append(w, *b, std::as_bytes(std::span(p))));
    b->flags |= kBufferLocallyOriginated;
    w.enqueue_to_node(host.engine->find_node("ip4-lookup"), b);
    host.run();
  }
  Bytes request_for(const std::string& ip, const std::string& to = kBroadcast) {
    return ethernet(to, NetHost::kOwnMac, 0x0806,
                    make_arp(1, NetHost::kOwnMac, "10.0.0.2", kZeroMac, ip));
  }
  NeighborState state_of(const std::string& ip) {
    for (const auto& n : host.net->neighbors())
      if (n.address == *IpAddress::parse(ip)) return n.state;
    ADD_FAILURE() << "no neighbour " << ip;
    return NeighborState::kIncomplete;
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(ArpTest, RequestForOwnAddressIsAnsweredToTheSenderOnly) {
  arp(1, kPeer, "10.0.0.1", kZeroMac, "10.0.0.2");
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, ethernet(kPeer, NetHost::kOwnMac, 0x0806,
                                    make_arp(2, NetHost::kOwnMac, "10.0.0.2", kPeer, "10.0.0.1")));
  EXPECT_EQ(host.counter("arp-input/request-answered"), 1u);
  EXPECT_EQ(state_of("10.0.0.1"), NeighborState::kStale);  // it will be talked to: remembered
}

TEST_F(ArpTest, PaddingOfARequestIsNotSentBack) {
  host.receive(wire, ethernet(kBroadcast, kPeer, 0x0806,
                              make_arp(1, kPeer, "10.0.0.1", kZeroMac, "10.0.0.2") + Bytes(18)));
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes.size(), 42u);
}

TEST_F(ArpTest, ProbeIsAnsweredAndNotLearned) {  // RFC 5227 section 2.1.1
  arp(1, kPeer, "0.0.0.0", kZeroMac, "10.0.0.2");
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
}

TEST_F(ArpTest, PacketsWaitForTheAnswerAndLeaveInOrder) {
  for (uint16_t i = 1; i <= 3; ++i) send("10.0.0.1", i);
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));  // one request for three packets
  EXPECT_EQ(sent[0].bytes, request_for("10.0.0.1"));
  arp(2, kPeer, "10.0.0.1", NetHost::kOwnMac, "10.0.0.2", NetHost::kOwnMac);
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(3));
  for (uint16_t i = 1; i <= 3; ++i) {
    EXPECT_EQ(part(sent[i - 1].bytes, 0, 6), mac(kPeer));
    EXPECT_EQ(get16(sent[i - 1].bytes, 14 + 4), i);
  }
  EXPECT_EQ(state_of("10.0.0.1"), NeighborState::kReachable);
  send("10.0.0.1", 4);
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
}

TEST_F(ArpTest, RequestIsRepeatedEverySecondThreeTimesThenThePacketIsDropped) {
  send("10.0.0.7");
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  host.pass(990 * kMillisecond);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  host.pass(20 * kMillisecond);
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  host.pass(kSecond);
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  EXPECT_EQ(host.counter("neighbor-table/unresolved"), 0u);
  host.pass(kSecond);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("neighbor-table/unresolved"), 1u);
  EXPECT_EQ(host.counter("icmp4-error/own-packet"), 1u);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  host.pass(10 * kSecond);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(ArpTest, OnlyTheNewestPacketsWait) {
  for (uint16_t i = 1; i <= 68; ++i) send("10.0.0.1", i);
  wire.take_sent();
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 4u);
  arp(2, kPeer, "10.0.0.1", NetHost::kOwnMac, "10.0.0.2", NetHost::kOwnMac);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(64));
  EXPECT_EQ(get16(sent[0].bytes, 14 + 4), 5u);
  EXPECT_EQ(get16(sent[63].bytes, 14 + 4), 68u);
}

TEST_F(ArpTest, WhenManyPacketsWaitEachNeighbourHasFew) {
  constexpr uint32_t kFull = NeighborTable::kManyBuffers / Neighbor::kMaxPending;
  const auto address = [](uint32_t i) { return "10.0.0." + std::to_string(100 + i); };
  for (uint32_t i = 0; i < kFull; ++i)
    for (uint16_t n = 0; n < Neighbor::kMaxPending; ++n) send(address(i), n);
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 0u);
  for (uint16_t n = 0; n < 20; ++n) send("10.0.0.1", n);
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 4u);
  // The next one of a neighbour that has more goes at the expense of those.
  send(address(0));
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 4u + 64 - 15);
  host.pass(4 * kSecond);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  send("10.0.0.1");
  for (uint16_t n = 0; n < 50; ++n) send("10.0.0.1", n);
  wire.take_sent();
  arp(2, kPeer, "10.0.0.1", NetHost::kOwnMac, "10.0.0.2", NetHost::kOwnMac);
  EXPECT_THAT(wire.take_sent(), SizeIs(51));
}

// Packets of ten buffers: 25 of them are what one neighbour may have, and 6 when many wait.
TEST_F(ArpTest, LongPacketsWaitByTheirBuffers) {
  const auto send_long = [&](const std::string& to) {
    Buffer* b = host.make(make_ip4({.src = "10.0.0.2", .dst = to}, counting(1400)));
    b->flags |= kBufferLocallyOriginated;
    Buffer* last = b;
    for (int i = 1; i < 10; ++i) {
      last->next = host.worker().alloc();
      ASSERT_NE(last->next, nullptr);
      last = last->next;
      last->len = 0;
    }
    host.enqueue("ip4-lookup", b);
  };
  for (int i = 0; i < 30; ++i) send_long("10.0.0.1");
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 5u);
  for (int to = 101; to < 104; ++to)
    for (int i = 0; i < 25; ++i) send_long("10.0.0." + std::to_string(to));
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 5u);
  for (int i = 0; i < 25; ++i) send("10.0.0.104", 1);  // with the last one they are many
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 5u + 9);
  for (int i = 0; i < 10; ++i) send_long("10.0.0.105");
  EXPECT_EQ(host.counter("neighbor-table/queue-overflow"), 14u + 4);
}

TEST_F(ArpTest, UsedNeighbourIsProbedByUnicastAndForgottenWhenItIsSilent) {
  send("10.0.0.1");
  arp(2, kPeer, "10.0.0.1", NetHost::kOwnMac, "10.0.0.2", NetHost::kOwnMac);
  wire.take_sent();
  host.pass(NeighborTable::kReachableTime - kSecond);
  send("10.0.0.1");
  wire.take_sent();
  host.pass(kSecond + kMillisecond);
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, request_for("10.0.0.1", kPeer));
  EXPECT_EQ(state_of("10.0.0.1"), NeighborState::kProbe);
  send("10.0.0.1");  // still in use while it is asked
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  arp(2, kPeer, "10.0.0.1", NetHost::kOwnMac, "10.0.0.2", NetHost::kOwnMac);
  EXPECT_EQ(state_of("10.0.0.1"), NeighborState::kReachable);
  send("10.0.0.1");
  host.pass(NeighborTable::kReachableTime + 3 * NeighborTable::kRetransTimer + kSecond);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  wire.take_sent();
  send("10.0.0.1");
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, request_for("10.0.0.1"));
}

TEST_F(ArpTest, UnusedNeighbourGoesStaleAndIsForgottenWithoutAQuestion) {
  arp(1, kPeer, "10.0.0.1", kZeroMac, "10.0.0.2");
  wire.take_sent();
  host.pass(NeighborTable::kDefaultLimits.max_age - NeighborTable::kStaleCheck);
  EXPECT_EQ(state_of("10.0.0.1"), NeighborState::kStale);
  host.pass(2 * NeighborTable::kStaleCheck);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(ArpTest, GratuitousArpUpdatesWhatIsKnownAndCreatesNothing) {
  arp(1, kPeer, "10.0.0.9", kZeroMac, "10.0.0.9");
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  send("10.0.0.1");
  arp(2, kPeer, "10.0.0.1", NetHost::kOwnMac, "10.0.0.2", NetHost::kOwnMac);
  wire.take_sent();
  arp(1, "02:00:00:00:00:55", "10.0.0.1", kZeroMac, "10.0.0.1");
  EXPECT_EQ(host.counter("neighbor-table/mac-changed"), 1u);
  send("10.0.0.1");
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 0, 6), mac("02:00:00:00:00:55"));
}

TEST_F(ArpTest, SomeoneElseWithOurAddressIsCountedAndIgnored) {
  arp(1, kPeer, "10.0.0.2", kZeroMac, "10.0.0.2");
  EXPECT_EQ(host.counter("neighbor-table/conflict"), 1u);
  EXPECT_EQ(host.counter("arp-input/own-address"), 1u);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(ArpTest, MalformedMessagesHaveTheirCounters) {
  const Bytes good = make_arp(1, kPeer, "10.0.0.1", kZeroMac, "10.0.0.2");
  const auto receive = [&](const Bytes& b) {
    host.receive(wire, ethernet(kBroadcast, kPeer, 0x0806, b));
  };
  receive(part(good, 0, 27));
  EXPECT_EQ(host.counter("arp-input/too-short"), 1u);
  receive(good + Bytes(3000));
  EXPECT_EQ(host.counter("arp-input/too-long"), 1u);
  const std::pair<std::size_t, const char*> fields[] = {{1, "arp-input/hardware-type"},
                                                        {3, "arp-input/protocol-type"},
                                                        {4, "arp-input/hardware-length"},
                                                        {5, "arp-input/protocol-length"}};
  for (const auto& [at, counter] : fields) {
    Bytes b = good;
    b[at] ^= 0x10;
    receive(b);
    EXPECT_EQ(host.counter(counter), 1u) << counter;
  }
  receive(make_arp(3, kPeer, "10.0.0.1", kZeroMac, "10.0.0.2"));
  EXPECT_EQ(host.counter("arp-input/bad-operation"), 1u);
  receive(make_arp(1, kBroadcast, "10.0.0.1", kZeroMac, "10.0.0.2"));
  receive(make_arp(1, kZeroMac, "10.0.0.1", kZeroMac, "10.0.0.2"));
  EXPECT_EQ(host.counter("arp-input/bad-sender-mac"), 2u);
  for (const char* ip : {"224.0.0.1", "255.255.255.255", "127.0.0.1"})
    receive(make_arp(1, kPeer, ip, kZeroMac, "10.0.0.2"));
  EXPECT_EQ(host.counter("arp-input/bad-sender-ip"), 3u);
  receive(make_arp(1, kPeer, "192.168.7.7", kZeroMac, "10.0.0.2"));
  EXPECT_EQ(host.counter("arp-input/not-on-link"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
}

TEST_F(ArpTest, UnaskedReplyDoesNotMakeANeighbourReachable) {
  arp(2, kPeer, "10.0.0.1", NetHost::kOwnMac, "10.0.0.2", NetHost::kOwnMac);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
}

TEST_F(ArpTest, StaticNeighbourIsNeverAskedNorChanged) {
  host.know(wire, "10.0.0.1");
  send("10.0.0.1");
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 0, 6), mac(kPeer));
  arp(1, "02:00:00:00:00:55", "10.0.0.1", kZeroMac, "10.0.0.2");
  wire.take_sent();
  host.pass(100 * kSecond);
  send("10.0.0.1");
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 0, 6), mac(kPeer));
  must(host.net->del_neighbor(wire.index, *IpAddress::parse("10.0.0.1")));
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  EXPECT_FALSE(host.net->del_neighbor(wire.index, *IpAddress::parse("10.0.0.1")));
}

TEST_F(ArpTest, AddressIsAnnouncedWhenItIsAddedAndWhenTheInterfaceComesUp) {
  const Bytes announcement =
      ethernet(kBroadcast, NetHost::kOwnMac, 0x0806,
               make_arp(1, NetHost::kOwnMac, "10.0.1.2", kZeroMac, "10.0.1.2"));
  must(host.net->add_address(wire.index, *IpPrefix::parse("10.0.1.2/24")));
  host.run();
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, announcement);
  must(host.net->set_admin(wire.index, false));
  must(host.net->set_admin(wire.index, true));
  host.run();
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[1].bytes, announcement);
}

TEST(NeighborTable, FullTableDropsTheOldestUnansweredOne) {
  NetHost host({.max_neighbors = 4});
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  host.know(wire, "10.0.0.100");
  const auto send = [&](const std::string& dst) {
    Worker& w = host.worker();
    Buffer* b = w.alloc();
    const Bytes p = make_ip4({.src = "10.0.0.2", .dst = dst}, make_icmp4(8, 0, 1, {}));
    ASSERT_TRUE(chain_append(w, *b, std::as_bytes(std::span(p))));
    b->flags |= kBufferLocallyOriginated;
    w.enqueue_to_node(host.engine->find_node("ip4-lookup"), b);
    host.run();
    host.now += kMillisecond;
  };
  for (int i = 10; i < 20; ++i) send("10.0.0." + std::to_string(i));
  const auto all = host.net->neighbors();
  EXPECT_THAT(all, SizeIs(4));
  int n_new = 0;
  bool has_static = false;
  for (const auto& n : all) {
    has_static |= n.state == NeighborState::kStatic;
    n_new += n.address == *IpAddress::parse("10.0.0.19");
  }
  EXPECT_TRUE(has_static);
  EXPECT_EQ(n_new, 1);
  EXPECT_EQ(host.counter("neighbor-table/unresolved"), 7u);
}

TEST(NeighborTable, OtherWorkersHandArpAndWaitingPacketsToWorkerZero) {
  NetHost host({}, 2);
  FakeDevice& first = host.add_device({"10.0.0.2/24"});
  FakeDevice& second = host.add_device({"10.0.1.2/24"});  // its queue is on worker 1
  host.receive(second, ethernet(kBroadcast, kPeer, 0x0806,
                                make_arp(1, kPeer, "10.0.1.1", kZeroMac, "10.0.1.2")));
  EXPECT_EQ(host.counter("arp-input/handed-off"), 1u);
  EXPECT_EQ(host.counter("arp-input/request-answered"), 1u);
  EXPECT_THAT(second.take_sent(), SizeIs(1));
  host.receive(second, ethernet("02:00:00:00:00:02", kPeer, 0x0800,
                                make_ip4({.src = "10.0.1.1", .dst = "10.0.0.9"}, counting(20))));
  EXPECT_EQ(host.counter("neighbor-resolve/handed-off"), 1u);
  ASSERT_THAT(first.take_sent(), SizeIs(1));  // the request
  host.receive(first, ethernet(NetHost::kOwnMac, kPeer, 0x0806,
                               make_arp(2, kPeer, "10.0.0.9", NetHost::kOwnMac, "10.0.0.2")));
  const auto sent = first.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes[14 + 8], 63);  // forwarded: the time to live went down once
}

}  // namespace
}  // namespace loom
