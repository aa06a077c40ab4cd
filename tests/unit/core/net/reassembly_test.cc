// Datagrams out of fragments: orders, limits, time, and everything that fragments can be wrong in.
#include <algorithm>
#include <numeric>

#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint16_t kMore = 0x2000;  // IPv4's flag; the offset is in units of 8 bytes
constexpr const char *kPeer = "10.0.0.1", *kOwn = "10.0.0.2";
constexpr const char *kPeer6 = "2001:db8::1", *kOwn6 = "2001:db8::2";

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
    EXPECT_THAT(host.sink.packets, SizeIs(1));
    Sink::Packet p = host.sink.packets.empty() ? Sink::Packet{} : host.sink.packets[0];
    host.sink.packets.clear();
    return p;
  }
  uint64_t count(const std::string& name) { return host.counter("ip4-reassembly/" + name); }
  uint64_t count6(const std::string& name) { return host.counter("ip6-reassembly/" + name); }
  void expect_nothing() {
    EXPECT_THAT(host.sink.packets, IsEmpty());
    EXPECT_THAT(wire.take_sent(), IsEmpty());
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
  // No device can vouch for a datagram of which it saw a piece.
  for (const Bytes& p : pieces(whole, 1000)) receive(p, kBufferL4ChecksumOk);
  expect_nothing();
  EXPECT_EQ(host.counter("ip4-local/udp-checksum"), 1u);
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
  // With the options of its first fragment it is longer than there may be.
  auto all = pieces(whole, 1480);
  all[0] = piece(whole, 0, 1480, {.options = {1, 1, 1, 1}});
  receive(all);
  expect_nothing();
  EXPECT_EQ(count("too-long"), 1u);
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
}

TEST_F(ReassemblyTest, OverlapEndsTheDatagram) {  // RFC 5722 section 4
  const Bytes whole = udp(1500);
  const auto all = pieces(whole, 504);
  // From the left, from the right, inside, around, and the same place with another end.
  for (const auto& [at, n] : std::vector<std::pair<std::size_t, std::size_t>>{
           {496, 16}, {1000, 16}, {512, 8}, {496, 520}, {504, 8}}) {
    const uint64_t before = count("overlap"), later = count("given-up");
    receive({all[1], piece(whole, at, n), all[0], all[1], all[2]});
    expect_nothing();
    EXPECT_EQ(count("overlap"), before + 2) << at;
    EXPECT_EQ(count("given-up"), later + 3) << at;
    host.pass(61 * kSecond);  // from then on it is another datagram
    expect_nothing();
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
  host.pass(59 * kSecond);
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
  host.pass(30 * kSecond);
  receive(piece(whole, 504, 504, {.id = 2}));
  host.pass(31 * kSecond);
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
  receive(all[129]);
  EXPECT_EQ(count("given-up"), 1u);
  expect_nothing();
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
  EXPECT_THAT(wire.take_sent(), SizeIs(3));  // in fragments
}

// --- IPv6

TEST_F(ReassemblyTest, Ip6DatagramLosesItsFragmentHeader) {
  const Bytes whole = udp6(3000);
  receive({piece6(whole, 2000, 1008), piece6(whole, 0, 1000)});
  expect_nothing();
  receive(piece6(whole, 1000, 1000));
  const auto p = take();
  EXPECT_EQ(p.data, whole);
  EXPECT_EQ(p.ip, part(make_ip6({.src = kPeer6, .dst = kOwn6, .next_header = 17}, whole), 0, 40));
  EXPECT_TRUE(p.flags & kBufferL4ChecksumOk);
  EXPECT_EQ(count6("reassembled"), 3u);
  expect_empty();
}

TEST_F(ReassemblyTest, Ip6HeadersInFrontAndBehindStay) {  // RFC 8200 section 4.5
  const Bytes hop_by_hop = {44, 0, 1, 4, 0, 0, 0, 0}, destination = {17, 0, 1, 4, 0, 0, 0, 0};
  const Bytes whole = destination + udp6(1000);
  // The next header of the first fragment counts, as its headers in front do.
  receive(raw6(part(whole, 504), 504, 6));
  receive(raw6(part(whole, 0, 504), 1, 60, 9, 0, hop_by_hop));
  const auto p = take();
  EXPECT_EQ(p.data, udp6(1000));
  EXPECT_EQ(p.ip, part(make_ip6({.src = kPeer6, .dst = kOwn6, .next_header = 0},
                                Bytes{60, 0, 1, 4, 0, 0, 0, 0} + whole),
                       0, 56));
}

TEST_F(ReassemblyTest, Ip6IdentificationsTellDatagramsApart) {
  const Bytes whole = udp6(1000);
  receive({piece6(whole, 0, 504, 1), piece6(whole, 504, 504, 0x10001)});
  expect_nothing();
  receive(piece6(whole, 504, 504, 1));
  EXPECT_EQ(take().data, whole);
}

TEST_F(ReassemblyTest, Ip6SenderIsToldWhatIsWrong) {  // RFC 8200 section 4.5, RFC 7112
  const auto expect_problem = [&](const Bytes& packet, uint8_t code, uint32_t pointer,
                                  const std::string& counter) {
    const uint64_t before = count6(counter);
    receive(packet);
    EXPECT_EQ(count6(counter), before + 1);
    const auto sent = wire.take_sent();
    ASSERT_THAT(sent, SizeIs(1)) << counter;
    const Bytes answer = part(sent[0].bytes, 14);
    EXPECT_TRUE(checksums_hold(answer));
    EXPECT_EQ(answer[40], 4);
    EXPECT_EQ(answer[41], code);
    EXPECT_EQ(get32(answer, 44), pointer);
  };
  const Bytes whole = udp6(1000);
  expect_problem(raw6(part(whole, 0, 501), 1), 0, 4, "bad-length");
  expect_problem(raw6(part(whole, 0, 504), 0xfff8), 0, 42, "too-long");
  expect_problem(raw6(Bytes{17, 0, 1, 4, 0, 0, 0, 0}, 1, 60), 3, 0, "headers-split");
  expect_problem(raw6(part(counting(100), 0, 16), 1, 6), 3, 0, "headers-split");  // TCP has 20
  receive(raw6({}, 1));
  EXPECT_EQ(count6("empty"), 1u);
  expect_nothing();
  expect_empty();
}

TEST_F(ReassemblyTest, Ip6SenderIsToldWhenTimeIsOver) {  // RFC 4443 section 3.3
  const Bytes first = piece6(udp6(3000), 0, 1000);
  receive(first);
  host.pass(61 * kSecond);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  const Bytes answer = part(sent[0].bytes, 14);
  EXPECT_TRUE(checksums_hold(answer));
  EXPECT_EQ(answer[40], 3);
  EXPECT_EQ(answer[41], 1);
  EXPECT_EQ(part(answer, 48), first);
}

TEST_F(ReassemblyTest, Ip6IsRefusedAsIp4Is) {
  const Bytes whole = udp6(3000), shorter = part(whole, 0, 1000);
  receive({piece6(whole, 0, 504), piece6(whole, 496, 16), piece6(whole, 504, 504)});
  EXPECT_EQ(count6("overlap"), 2u);
  EXPECT_EQ(count6("given-up"), 1u);
  receive({piece6(whole, 1008, 504, 1), piece6(shorter, 504, 496, 1)});
  EXPECT_EQ(count6("contradiction"), 2u);
  receive({piece6(whole, 504, 504, 2), piece6(whole, 504, 504, 2)});
  EXPECT_EQ(count6("duplicate"), 1u);
  for (std::size_t at = 0; at < 130 * 8; at += 8) receive(piece6(whole, at + 8, 8, 3));
  EXPECT_EQ(count6("too-many"), 129u);
  Bytes congested = piece6(whole, 0, 504, 4);
  congested[1] |= 0x30;
  receive({piece6(whole, 504, 504, 4), congested});
  EXPECT_EQ(count6("mixed-ecn"), 2u);
  for (uint32_t id = 10; id < 10 + 513; ++id) receive(piece6(whole, 504, 504, id));
  EXPECT_GT(count6("evicted"), 0u);
  expect_nothing();
  // In the traffic class, which is not in whole bytes.
  Bytes a = piece6(udp6(1000), 0, 504, 5), b = piece6(udp6(1000), 504, 504, 5);
  a[0] = b[0] = 0x6b;
  a[1] = b[1] = 0xa5;  // class 0xba, flow label 5...
  b[1] = 0xb5;
  receive({a, b});
  EXPECT_EQ(part(take().ip, 0, 2), (Bytes{0x6b, 0xb5}));
}

// --- Several workers

class ReassemblyWorkersTest : public ReassemblyTest {
 protected:
  ReassemblyWorkersTest() : ReassemblyTest(3) {}
};

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
