// Datagrams out of IPv4 fragments: orders, limits, time, and everything that fragments can be wrong
// in. reassembly6_test.cc has what is IPv6's.
#include <algorithm>

#include "reassembly_bed.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(ReassemblyTest, DatagramIsAsIfItHadComeWhole) {
  const Bytes whole = udp(2000);
  receive(piece(whole, 0, 1480, {.tos = 0xb8}));
  expect_nothing();
  receive(piece(whole, 1480, 528, {.tos = 0xb8}));
  const auto p = take();
  EXPECT_EQ(p.data, whole);
  EXPECT_EQ(p.l4_protocol, 17);
  EXPECT_TRUE(p.flags & kBufferL4ChecksumOk);
  EXPECT_EQ(p.ip,
            part(make_ip4({.src = kPeer, .dst = kOwn, .protocol = 17, .tos = 0xb8}, whole), 0, 20));
  EXPECT_EQ(count("reassembled"), 2u);
  expect_empty();
}

TEST_F(ReassemblyTest, EveryOrderOfFragments) {
  const Bytes whole = udp(3 * 600 + 100);
  const auto all = pieces(whole, 600);
  ASSERT_THAT(all, SizeIs(4));
  std::vector<std::size_t> order = {0, 1, 2, 3};
  do {
    for (const std::size_t i : order) receive(all[i]);
    EXPECT_EQ(take().data, whole);
  } while (std::next_permutation(order.begin(), order.end()));
  expect_empty();
}

TEST_F(ReassemblyTest, WrongChecksumOfTheWholeIsSeen) {
  Bytes whole = udp(2000);
  whole[1600] ^= 1;
  // No device can vouch for a datagram of which it saw a piece, nor leave its checksum unfinished.
  for (const uint32_t flag : {kBufferL4ChecksumOk, kBufferTxUdpChecksum, kBufferTxTcpChecksum})
    for (const Bytes& p : pieces(whole, 1000)) receive(p, flag);
  expect_nothing();
  EXPECT_EQ(host.counter("ip4-local/udp-checksum"), 3u);
}

TEST_F(ReassemblyTest, HeadersInTheSmallestFragments) {
  Bytes tcp = counting(300);  // port numbers and so on
  put16(tcp, 16, 0);
  put16(tcp, 16, plain_checksum(pseudo(ip4(kPeer), ip4(kOwn), 6, tcp.size()) + tcp));
  receive(pieces(tcp, 8, {.protocol = 6}));
  EXPECT_EQ(take().data, tcp);
}

TEST_F(ReassemblyTest, FragmentsOfSeveralSegments) {
  const Bytes whole = udp(20'000);
  const auto all = pieces(whole, 8000);
  receive({all[2], all[0], all[1]});
  EXPECT_EQ(take().data, whole);
}

TEST_F(ReassemblyTest, TheLongestDatagram) {
  const Bytes whole = udp(65'535 - 20 - 8);
  receive(pieces(whole, 1480));
  EXPECT_EQ(take().data, whole);
  // With the options of its first fragment it is longer than there may be, whenever that comes.
  auto all = pieces(whole, 1480);
  all[0] = piece(whole, 0, 1480, {.options = {1, 1, 1, 1}});
  receive(all);
  expect_nothing();
  EXPECT_EQ(count("too-large"), all.size());
  std::reverse(all.begin(), all.end());
  receive(all);
  expect_nothing();
  EXPECT_EQ(count("too-large"), 2 * all.size());
  expect_empty();
}

TEST_F(ReassemblyTest, DatagramsAreToldApart) {
  const Bytes a = udp(1000);
  Bytes b = a, c = make_udp(ip4("10.0.0.3"), ip4(kOwn), 1000, 2000, counting(1000));
  receive(piece(a, 0, 504));
  receive(piece(b, 504, 504, {.id = 2}));
  receive(piece(c, 504, 504, {.src = "10.0.0.3"}));
  receive(piece(a, 504, 504, {.protocol = 6}));
  expect_nothing();
  receive(piece(c, 0, 504, {.src = "10.0.0.3"}));
  EXPECT_EQ(take().data, c);
  receive(piece(b, 0, 504, {.id = 2}));
  EXPECT_EQ(take().data, b);
  receive(piece(a, 504, 504));
  EXPECT_EQ(take().data, a);
}

TEST_F(ReassemblyTest, DuplicatesDoNoHarm) {
  const Bytes whole = udp(1500);
  const auto all = pieces(whole, 504);
  receive({all[2], all[2], all[0], all[0], all[2], all[1]});
  EXPECT_EQ(take().data, whole);
  EXPECT_EQ(count("duplicate"), 3u);
  // Other bytes in the same place are an overlap (RFC 8200 section 4.5: exact duplicates).
  Bytes other = whole;
  other[600] ^= 1;
  receive({all[1], piece(other, 504, 504)});
  EXPECT_EQ(count("overlap"), 2u);
  EXPECT_EQ(count("duplicate"), 3u);
  expect_empty();
}

TEST_F(ReassemblyTest, OverlapEndsTheDatagram) {  // as RFC 5722 has it for IPv6
  const Bytes whole = udp(1500);
  const auto all = pieces(whole, 504);
  // From the left, from the right, inside, around, and the same place with another end.
  for (const auto& [at, n] : std::vector<std::pair<std::size_t, std::size_t>>{
           {496, 16}, {1000, 16}, {512, 8}, {496, 520}, {504, 8}}) {
    const uint64_t before = count("overlap");
    receive({all[1], piece(whole, at, n)});
    EXPECT_EQ(count("overlap"), before + 2) << at;
    expect_nothing();
    expect_empty();
    // The next datagram with that identification (RFC 4963) has nothing to do with it.
    receive(all);
    EXPECT_EQ(take().data, whole);
  }
}

TEST_F(ReassemblyTest, TwoEndsEndTheDatagram) {
  const Bytes whole = udp(1500), shorter = part(whole, 0, 1000), longer = udp(3000);
  const auto expect_contradiction = [&](std::vector<Bytes> some, uint64_t fragments) {
    const uint64_t before = count("contradiction");
    receive(some);
    expect_nothing();
    EXPECT_EQ(count("contradiction"), before + fragments);
    host.pass(61 * kSecond);
    wire.sent.clear();
  };
  expect_contradiction({piece(whole, 1008, 500), piece(shorter, 504, 496)}, 2);  // an earlier one
  expect_contradiction({piece(shorter, 504, 496), piece(whole, 1008, 500)}, 2);  // a later one
  expect_contradiction({piece(longer, 1504, 496), piece(whole, 1008, 500)}, 2);  // before what came
  expect_contradiction({piece(whole, 1008, 500), piece(longer, 1504, 496)}, 2);  // beyond it
}

TEST_F(ReassemblyTest, FragmentsThatCannotBe) {
  const Bytes whole = udp(3000);
  Bytes p = make_ip4({.src = kPeer, .dst = kOwn, .protocol = 17, .flags_fragment = kMore}, {});
  receive(p);
  EXPECT_EQ(count("empty"), 1u);
  receive(make_ip4({.src = kPeer, .dst = kOwn, .protocol = 17, .flags_fragment = kMore},
                   part(whole, 0, 1001)));
  EXPECT_EQ(count("bad-length"), 1u);
  // The last byte of the longest is the 65535th, with the header.
  const Ip4 far = {.src = kPeer, .dst = kOwn, .protocol = 17, .flags_fragment = 0x1fff};
  receive(make_ip4(far, Bytes(0x10)));
  EXPECT_EQ(count("too-long"), 1u);
  expect_nothing();
  expect_empty();
}

TEST_F(ReassemblyTest, PacketsThatAPluginSendsHereWrongly) {
  host.enqueue("ip4-reassembly", host.make(make_ip4({.src = kPeer, .dst = kOwn}, counting(9))));
  EXPECT_EQ(count("no-fragment"), 1u);
  host.enqueue("ip4-reassembly", host.make(counting(19)));
  Bytes p = piece(udp(1000), 0, 504);
  p[0] = 0x44;
  host.enqueue("ip4-reassembly", host.make(p));
  p[0] = 0x4f;
  host.enqueue("ip4-reassembly", host.make(part(p, 0, 30)));
  EXPECT_EQ(count("bad-header"), 3u);
  host.enqueue("ip6-reassembly",
               host.make(make_ip6({.src = kPeer6, .dst = kOwn6, .next_header = 17}, udp6(9))));
  EXPECT_EQ(count6("no-fragment"), 1u);
  host.enqueue("ip6-reassembly", host.make(counting(39)));
  EXPECT_EQ(count6("bad-header"), 1u);
  expect_nothing();
}

TEST_F(ReassemblyTest, SenderIsToldWhenTimeIsOver) {  // RFC 792, RFC 1122 section 3.2.2.4
  const Bytes whole = udp(3000);
  const Bytes first = piece(whole, 0, 1000);
  receive({piece(whole, 2000, 504), first});
  host.pass(29 * kSecond);
  expect_nothing();
  receive(piece(whole, 1000, 504));  // does not give it more time
  host.pass(2 * kSecond);
  EXPECT_EQ(count("timed-out"), 3u);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  const Bytes answer = part(sent[0].bytes, 14);
  EXPECT_TRUE(checksums_hold(answer));
  EXPECT_EQ(answer[20], 11);
  EXPECT_EQ(answer[21], 1);
  EXPECT_EQ(part(answer, 28), part(first, 0, answer.size() - 28));
  expect_empty();
}

TEST_F(ReassemblyTest, NobodyIsToldWhenTheFirstFragmentIsMissing) {
  const Bytes whole = udp(3000);
  receive(piece(whole, 1000, 504));
  receive(piece6(udp6(3000), 1000, 504));
  host.pass(61 * kSecond);
  EXPECT_EQ(count("timed-out"), 1u);
  EXPECT_EQ(count6("timed-out"), 1u);
  expect_nothing();
  expect_empty();
}

TEST_F(ReassemblyTest, EachDatagramHasItsOwnTime) {
  const Bytes whole = udp(1000);
  receive(piece(whole, 504, 504, {.id = 1}));
  host.pass(15 * kSecond);
  receive(piece(whole, 504, 504, {.id = 2}));
  host.pass(16 * kSecond);
  EXPECT_EQ(count("timed-out"), 1u);
  receive(piece(whole, 0, 504, {.id = 2}));
  EXPECT_EQ(take().data, whole);
  // The time of one that is gone fires for nobody.
  host.pass(60 * kSecond);
  EXPECT_EQ(count("timed-out"), 1u);
}

TEST_F(ReassemblyTest, TooManyFragmentsEndTheDatagram) {
  const Bytes whole = udp(2000);
  const auto all = pieces(whole, 8);
  for (uint32_t i = 0; i < 129; ++i) receive(all[i]);
  EXPECT_EQ(count("too-many"), 129u);
  expect_nothing();
  expect_empty();
}

TEST_F(ReassemblyTest, ANewDatagramTakesThePlaceOfTheOldest) {
  const Bytes whole = udp(1000);
  for (uint16_t id = 1; id <= 513; ++id) receive(piece(whole, 0, 504, {.id = id}));
  EXPECT_EQ(count("evicted"), 1u);
  EXPECT_EQ(net_state(host.worker()).workers[0]->fragments4->n_datagrams(), 512u);
  receive(piece(whole, 504, 504, {.id = 2}));
  EXPECT_EQ(take().data, whole);
  receive(piece(whole, 504, 504, {.id = 1}));  // the first half is gone
  expect_nothing();
  EXPECT_EQ(count("evicted"), 1u);  // there was room again
}

TEST_F(ReassemblyTest, BuffersHaveALimit) {
  const Bytes whole = udp(60'000);
  const auto all = pieces(whole, 8000);  // four buffers each, eight pieces
  for (uint16_t id = 1; id <= 80; ++id)
    for (std::size_t i = 1; i < all.size(); ++i)
      receive(
          piece(whole, i * 8000, std::min<std::size_t>(8000, whole.size() - i * 8000), {.id = id}));
  const auto& table = *net_state(host.worker()).workers[0]->fragments4;
  EXPECT_LE(table.n_buffers(), 1024u);
  EXPECT_GT(table.n_buffers(), 1024u - 32u);
  EXPECT_GT(count("evicted"), 0u);
  EXPECT_LT(table.n_datagrams(), 80u);
  receive(piece(whole, 0, 8000, {.id = 80}));
  EXPECT_EQ(take().data, whole);
}

TEST(ReassemblyShareTest, FragmentsNeverTakeAllBuffers) {
  NetHost host;  // has 4096
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  for (uint16_t id = 0; id < 300; ++id)
    host.receive(wire,
                 ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                          make_ip4({.src = kPeer, .dst = kOwn, .id = id, .flags_fragment = kMore},
                                   Bytes(8))));
  EXPECT_EQ(net_state(host.worker()).workers[0]->fragments4->n_buffers(), 256u);
  EXPECT_EQ(host.counter("ip4-reassembly/evicted"), 44u);
}

TEST(ReassemblyShareTest, OneDatagramCannotPushOutAllOthers) {
  NetHost host({.reassembly_buffers = 8});
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  const auto receive = [&](uint16_t id, uint16_t offset, uint16_t more = kMore) {
    const auto flags = static_cast<uint16_t>(offset | more);
    host.receive(wire,
                 ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                          make_ip4({.src = kPeer, .dst = kOwn, .id = id, .flags_fragment = flags},
                                   Bytes(8))));
  };
  for (uint16_t i = 0; i < 5; ++i) receive(1, i);
  for (uint16_t i = 0; i < 3; ++i) receive(2, i);
  // What is refused makes no room for itself.
  receive(2, 1);
  EXPECT_EQ(host.counter("ip4-reassembly/evicted"), 0u);
  receive(2, 3);
  EXPECT_EQ(host.counter("ip4-reassembly/evicted"), 5u);
  for (uint16_t i = 4; i < 9; ++i) receive(2, i);
  EXPECT_EQ(host.counter("ip4-reassembly/too-large"), 9u);
  EXPECT_EQ(net_state(host.worker()).workers[0]->fragments4->n_buffers(), 0u);
}

TEST_F(ReassemblyTest, CongestionOfOneFragmentIsThatOfTheWhole) {  // RFC 3168 section 5.3
  const Bytes whole = udp(1000);
  const auto tos = [&](uint8_t a, uint8_t b) {
    receive({piece(whole, 504, 504, {.tos = b}), piece(whole, 0, 504, {.tos = a})});
    return take().ip.at(1);
  };
  EXPECT_EQ(tos(2, 2), 2);
  EXPECT_EQ(tos(2, 3), 3);
  EXPECT_EQ(tos(3, 1), 3);
  EXPECT_EQ(tos(0xb8 | 2, 3), 0xb8 | 3);
  EXPECT_EQ(tos(1, 2), 1);
  EXPECT_EQ(tos(0, 1), 0);
  EXPECT_EQ(tos(2, 0), 0);
  receive({piece(whole, 504, 504, {.tos = 0}), piece(whole, 0, 504, {.tos = 3})});
  expect_nothing();
  EXPECT_EQ(count("mixed-ecn"), 2u);
}

TEST_F(ReassemblyTest, WhatCameByAnInterfaceGoesWithIt) {
  FakeDevice& other = host.add_device({"10.1.0.2/24"});
  const Bytes whole = udp(1000);
  const Bytes frame =
      ethernet("02:00:00:00:00:02", NetHost::kPeerMac, 0x0800, piece(whole, 0, 504, {.id = 1}));
  host.receive(other, frame);
  receive(piece(whole, 0, 504, {.id = 2}));
  ASSERT_EQ(host.net->remove_interface(other.index), Status::kOk);
  host.run();
  EXPECT_EQ(count("flushed"), 1u);
  receive(piece(whole, 504, 504, {.id = 1}));
  expect_nothing();
  receive(piece(whole, 504, 504, {.id = 2}));
  EXPECT_EQ(take().data, whole);
}

TEST_F(ReassemblyTest, EchoRequestInFragmentsIsAnswered) {
  const Bytes request = make_icmp4(8, 0, 0x00010002, counting(3000));
  for (std::size_t at = 0; at < request.size(); at += 1480) {
    Bytes b = make_ip4({.src = kPeer,
                        .dst = kOwn,
                        .flags_fragment = static_cast<uint16_t>(
                            at / 8 | (at + 1480 < request.size() ? kMore : 0))},
                       part(request, at, 1480));
    receive(b);
  }
  const auto sent = wire.take_sent();  // in fragments
  ASSERT_THAT(sent, SizeIs(3));
  Bytes reply;
  for (const auto& f : sent) reply = reply + part(f.bytes, 34);
  EXPECT_EQ(reply, make_icmp4(0, 0, 0x00010002, counting(3000)));
}

TEST_F(ReassemblyTest, FragmentsOnTheirWayWhenTheirInterfaceGoes) {
  const Bytes whole = udp(1000);
  Buffer* b = host.make(piece(whole, 0, 504));
  b->rx_if = 1000;
  host.enqueue("ip4-reassembly", b);
  EXPECT_EQ(count("no-interface"), 1u);
  Buffer* c = host.make(raw6(Bytes(8), 1));
  c->rx_if = 1000;
  host.enqueue("ip6-reassembly", c);
  EXPECT_EQ(count6("no-interface"), 1u);
  expect_empty();
}

// --- Several workers

class ReassemblyWorkersTest : public ReassemblyTest {
 protected:
  ReassemblyWorkersTest() : ReassemblyTest(3) {}
};

// While the others stand still: what they are handed has a limit, whoever sends how many.
TEST_F(ReassemblyWorkersTest, AWorkerThatDoesNotKeepUpIsNotHandedMore) {
  constexpr uint32_t kRing = 1024;
  for (const std::string family : {"ip4", "ip6"}) {
    const NodeId node = host.engine->find_node(family + "-reassembly");
    const auto counted = [&](const std::string& name) {
      return host.counter(family + "-reassembly/" + name);
    };
    for (uint16_t id = 0; id < 6 * kRing; ++id) {
      Buffer* b = host.make(family == "ip4" ? piece(udp(64), 0, 8, {.id = id})
                                            : piece6(udp6(64), 0, 8, id));
      b->rx_if = wire.index;
      host.worker().enqueue_to_node(node, b);
      if (id % 64 == 63) host.engine->step(0);
    }
    EXPECT_GE(counted("handed-off"), 2 * kRing);
    EXPECT_LE(counted("handed-off"), 2 * (kRing + 1));
    EXPECT_GT(counted("handoff-full"), kRing);
    host.pass(61 * kSecond);  // what is held times out
  }
}

TEST_F(ReassemblyWorkersTest, FragmentsOfADatagramMeetOnOneWorker) {
  const Bytes whole = udp(1000);
  for (uint16_t id = 0; id < 64; ++id) {
    receive({piece(whole, 504, 504, {.id = id}), piece(whole, 0, 504, {.id = id})});
    EXPECT_EQ(take().data, whole);
    receive({piece6(udp6(1000), 504, 504, id), piece6(udp6(1000), 0, 504, id)});
    EXPECT_EQ(take().data, udp6(1000));
  }
  EXPECT_EQ(count("reassembled"), 128u);
  EXPECT_GT(count("handed-off"), 0u);
  EXPECT_LT(count("handed-off"), 128u);
  EXPECT_GT(count6("handed-off"), 0u);
  // One that waits is flushed wherever it is.
  for (uint16_t id = 0; id < 64; ++id) receive(piece(whole, 0, 504, {.id = id}));
  ASSERT_EQ(host.net->remove_interface(wire.index), Status::kOk);
  host.run();
  EXPECT_EQ(count("flushed"), 64u);
  expect_empty();
}

}  // namespace
}  // namespace loom
