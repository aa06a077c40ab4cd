// Streams into the graph: what the IP layer makes of them, how many there are, and when.
#include "pg_test_host.h"

namespace loom::pg {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kUdp4 = "data { UDP: 10.0.0.9 -> 10.0.0.1 UDP: 1234 -> 9 incrementing 20 }";

TEST(Streams, PacketsAreReceivedOnTheirInterface) {
  PgHost p;
  p.stream("limit 1000 interface pg0 " + std::string(kUdp4));
  p.h.run();
  EXPECT_EQ(p.sent(), 1000u);
  EXPECT_EQ(p.h.counter("pg-input/generated"), 1000u);
  EXPECT_EQ(p.h.counter("ip4-input/ok"), 1000u);
  EXPECT_EQ(p.h.host().rx_counters(p.index, 0)->packets, 1000u);
  EXPECT_EQ(p.h.host().rx_counters(p.index, 0)->bytes, 48'000u);
  EXPECT_FALSE(p.pg.streams.all().at("s")->active());
}

TEST(Streams, EthernetFramesGoToEthernetInput) {
  PgHost p;
  p.stream(
      "limit 3 interface pg0 data { IP4: 02:00:00:00:00:99 -> ff:ff:ff:ff:ff:ff "
      "UDP: 10.0.0.9 -> 10.0.0.1 UDP: 1 -> 2 }");
  EXPECT_EQ(p.h.counter("ethernet-input/ip4"), 3u);
}

TEST(Streams, APingIsAnsweredIntoTheCapture) {
  PgHost p;
  const std::string file = p.file("ping");
  FakeDevice peer;
  peer.index = p.index;
  p.h.know(peer, "10.0.0.9");
  p.h.ok("packet-generator capture pg0 pcap " + file + " count 5");
  p.stream(
      "limit 5 interface pg0 data { ICMP: 10.0.0.9 -> 10.0.0.1 ICMP echo_request "
      "hex 0x12340001 incrementing 56 }");
  const Bytes b = read_bytes(file);
  ASSERT_EQ(b.size(), 24u + 5 * (16 + 14 + 84));
  const Bytes frame = part(b, 40, 98);
  Bytes payload(56);
  for (uint8_t i = 0; i < 56; ++i) payload[i] = i;
  EXPECT_EQ(part(frame, 34), make_icmp4(0, 0, 0x12340001, payload));
  EXPECT_EQ(part(frame, 0, 6), mac(NetHost::kPeerMac));
  EXPECT_THAT(p.h.refusal("packet-generator capture pg0 disable"), HasSubstr("nothing of pg0"));
}

TEST(Streams, MalformedPacketsAreCountedWhereTheyShould) {
  PgHost p;
  p.stream("limit 2 interface pg0 data { UDP: 10.0.0.9 -> 10.0.0.1 checksum 1 UDP: 1 -> 2 }");
  EXPECT_EQ(p.h.counter("ip4-input/bad-checksum"), 2u);
}

TEST(Streams, SizesAreSentInTurn) {
  PgHost p;
  p.stream("limit 7 size 48-50 interface pg0 " + std::string(kUdp4));
  EXPECT_EQ(p.h.host().rx_counters(p.index, 0)->bytes, 48u + 49 + 50 + 48 + 49 + 50 + 48);
  EXPECT_EQ(p.h.counter("ip4-input/ok"), 7u);
  EXPECT_THAT(p.h.ok("show packet-generator"), HasSubstr("48-50"));
}

TEST(Streams, PacketsLongerThanABufferAreChains) {
  PgHost p;
  must(p.h.net->set_mtu(p.index, 9000));
  p.h.ok("packet-generator capture pg0 pcap " + p.file("long") + " count 2");
  p.stream("limit 2 tx-interface pg0 data { incrementing 9000 }");
  const Bytes b = read_bytes(p.files[0]);
  ASSERT_EQ(b.size(), 24u + 2 * (16 + 9000));
  for (uint32_t i = 0; i < 9000; ++i) ASSERT_EQ(b[40 + i], static_cast<uint8_t>(i)) << i;
}

TEST(Streams, ARateIsKept) {
  PgHost p;
  p.stream("rate 1e3 limit 0 interface pg0 " + std::string(kUdp4));
  EXPECT_EQ(p.sent(), 1u);
  EXPECT_EQ(p.h.engine->step(), 0u);  // the worker may sleep until the next is due
  p.h.pass(10 * kMillisecond + kTimerTick);
  EXPECT_EQ(p.sent(), 11u);
  p.h.pass(kSecond);
  EXPECT_EQ(p.sent(), 1011u);
  p.h.ok("packet-generator disable-stream s");
  p.h.pass(kSecond);
  EXPECT_EQ(p.sent(), 1011u);
}

TEST(Streams, WithoutARateAFrameARound) {
  PgHost p;
  p.h.ok("packet-generator new { name s maxframe 10 interface pg0 " + std::string(kUdp4) + " }");
  p.h.engine->step();
  EXPECT_EQ(p.sent(), 0u);
  EXPECT_EQ(p.h.cli("packet-generator enable s").status, Status::kOk);
  for (int i = 0; i < 5; ++i) EXPECT_GT(p.h.engine->step(), 0u);
  EXPECT_EQ(p.sent(), 50u);
  p.h.ok("packet-generator disable-stream");
  EXPECT_EQ(p.sent(), 50u);
}

TEST(Streams, EnabledAgainItBeginsAnew) {
  PgHost p;
  p.stream("limit 3 interface pg0 " + std::string(kUdp4));
  p.h.ok("packet-generator enable-stream");
  EXPECT_EQ(p.sent(), 3u);
  EXPECT_EQ(p.h.counter("pg-input/generated"), 6u);
}

TEST(Streams, GoOnWhenThereAreBuffersAgain) {
  PgHost p;
  auto taken = p.h.take_buffers(3);
  p.stream("limit 10 interface pg0 " + std::string(kUdp4));
  p.h.pass(10 * kMillisecond);  // what is sent is freed, so a few come through each time
  p.h.worker().free(taken);
  p.h.pass(10 * kMillisecond);
  EXPECT_EQ(p.sent(), 10u);
  EXPECT_GT(p.h.counter("pg-input/no-buffers"), 0u);
}

TEST(Streams, FromAFile) {
  PgHost p;
  const Bytes udp = make_udp(ip4("10.0.0.9"), ip4("10.0.0.1"), 1, 2, {1, 2, 3});
  const Bytes ip = make_ip4({.src = "10.0.0.9", .dst = "10.0.0.1", .protocol = 17}, udp);
  const std::string file = p.file("in");
  write_bytes(
      file, pcap_of({ip, ip, make_ip4({.src = "10.0.0.9", .dst = "10.0.0.1", .ttl = 9}, {})}, 101));
  p.stream("interface pg0 pcap " + file);
  EXPECT_EQ(p.sent(), 3u);
  EXPECT_EQ(p.h.counter("ip4-input/ok"), 3u);
  write_bytes(file, pcap_of({ethernet("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:99", 0x0800, ip)}));
  p.h.ok("packet-generator new { name t limit 4 interface pg0 pcap " + file + " }");
  p.h.ok("packet-generator enable-stream t");
  EXPECT_EQ(p.h.counter("ethernet-input/ip4"), 4u);
}

TEST(Streams, RefusesMalformedFiles) {
  PgHost p;
  const std::string file = p.file("bad");
  const auto refusal = [&](const Bytes& content) {
    write_bytes(file, content);
    return p.h.refusal("packet-generator new { name s interface pg0 pcap " + file + " }");
  };
  const Bytes good = pcap_of({Bytes(60)});
  EXPECT_THAT(refusal({}), HasSubstr("shorter than a pcap file's header"));
  EXPECT_THAT(refusal(Bytes(24)), HasSubstr("not a pcap file"));
  EXPECT_THAT(refusal(pcap_of({})), HasSubstr("no packets"));
  EXPECT_THAT(refusal(pcap_of({Bytes(60)}, 113)), HasSubstr("link type 113"));
  EXPECT_THAT(refusal(part(good, 0, good.size() - 1)), HasSubstr("record 1 is cut off"));
  EXPECT_THAT(refusal(good + Bytes(15)), HasSubstr("record 2 is cut off"));
  EXPECT_THAT(refusal(pcap_of({Bytes(65'536)})), HasSubstr("record 1 has 65536 bytes"));
  EXPECT_THAT(refusal(pcap_of({Bytes{}})), HasSubstr("record 1 has 0 bytes"));
  EXPECT_THAT(p.h.refusal("packet-generator new { name s interface pg0 pcap /nowhere/x }"),
              HasSubstr("No such file"));
  EXPECT_THAT(p.h.refusal("packet-generator new { name s interface pg0 pcap /dev }"),
              HasSubstr("not a plain file"));
}

TEST(Streams, RefusesWithPositionAndReason) {
  PgHost p;
  const std::string begin = "packet-generator new { name s ";
  const std::pair<std::string, const char*> cases[] = {
      {begin + "limit x }", "'x' at position 7: a whole number"},
      {begin + "rate x }", "'x' at position 7: a number"},
      {begin + "limit -1 }", "'-1' at position 7"},
      {begin + "limit 0.5 }", "'0.5' at position 7: a whole number"},
      {begin + "limit 1e-9 }", "'1e-9' at position 7: a whole number"},
      {begin + "limit 1e16 }", "of at most 1000000000000000 is wanted"},
      {begin + "rate inf }", "'inf' at position 7"},
      {begin + "rate }", "'}' at position 7"},
      {begin + "size 100-99 }", "'100-99' at position 7: a size"},
      {begin + "size 0-1 }", "'0-1' at position 7"},
      {begin + "size 1-65536 }", "position 7"},
      {begin + "maxframe 257 }", "'257' at position 7"},
      {begin + "node tcp4-established }", "'tcp4-established' at position 7: only these"},
      {begin + "colour red }", "'colour' at position 6"},
      {begin + "data x }", "'x' at position 7: '{'"},
      {begin + "interface pg0 }", "`data { ... }` or `pcap FILE` is missing"},
      {begin, "'}' is wanted at the end"},
      {begin + kUdp4 + " }", "`interface` is missing"},
      {begin + "interface pg0 " + kUdp4 + " } more", "'more' at position"},
      {begin + "interface pg0 pcap f " + kUdp4 + " }", "exclude each other"},
      {begin + "interface pg0 size 27 " + kUdp4 + " }",
       "size 27 is less than the headers have: 28"},
      {begin + "interface pg0 node ethernet-input " + kUdp4 + " }",
       "packets for ip4-input cannot go to node ethernet-input"},
      {begin + "interface pg0 data { hex 0x45 } }", "`node` is missing"},
      {begin + "interface pg0 node drop data { } }", "an empty packet"},
      {begin + "interface pg0 worker 3 " + kUdp4 + " }", "no worker 3"},
      {begin + "interface pg0 size 1000-40000 " + kUdp4 + " }", "more than 67108864 bytes"},
      {"packet-generator new { interface pg0 " + std::string(kUdp4) + " }", "`name` is missing"},
      {"packet-generator new { name } }", "'}' at position 5"},
  };
  for (const auto& [line, says] : cases) EXPECT_THAT(p.h.refusal(line), HasSubstr(says)) << line;
  EXPECT_TRUE(p.pg.streams.all().empty());
}

TEST(Streams, AreListedAndForgotten) {
  PgHost p;
  p.stream("limit 2 rate 2.5 interface pg0 " + std::string(kUdp4));
  EXPECT_THAT(
      p.h.refusal("packet-generator new { name s interface pg0 " + std::string(kUdp4) + " }"),
      HasSubstr("there is a stream 's' already"));
  EXPECT_THAT(
      p.h.ok("show packet-generator s"),
      AllOf(HasSubstr("enabled"), HasSubstr("2.5"), HasSubstr("ip4-input"), HasSubstr("45000030")));
  EXPECT_THAT(p.h.refusal("show packet-generator t"), HasSubstr("no stream 't'"));
  EXPECT_THAT(p.h.refusal("packet-generator enable-stream t"), HasSubstr("no stream 't'"));
  EXPECT_THAT(p.h.refusal("packet-generator delete t"), HasSubstr("no stream 't'"));
  p.h.ok("packet-generator delete s");  // while it is enabled
  p.h.pass(kSecond);
  EXPECT_EQ(p.h.counter("pg-input/generated"), 1u);
  EXPECT_THAT(p.h.ok("json show packet-generator"), HasSubstr("\"streams\": []"));
}

TEST(Streams, TogetherHaveABound) {
  PgHost p;
  for (int i = 0; i < 5; ++i) {
    const std::string line = "packet-generator new { name s" + std::to_string(i) +
                             " size 1-11000 node drop data { hex 0x00 } }";  // 60 MB
    if (i < 4)
      p.h.ok(line);
    else
      EXPECT_THAT(p.h.refusal(line), HasSubstr("of all streams take more than 268435456 bytes"));
  }
}

TEST(Streams, TogetherHaveABoundOfPacketsToo) {
  PgHost p;
  const auto add = [&](int i) {
    StreamConfig c;
    c.name = "s" + std::to_string(i);
    c.bytes.resize(1);
    c.frames.resize(7 << 20, {0, 1});  // 56 MB
    return p.pg.streams.add(std::move(c));
  };
  for (int i = 0; i < 4; ++i) must(add(i));
  const auto fifth = add(4);
  ASSERT_FALSE(fifth);
  EXPECT_EQ(fifth.error().code, Status::kNoMemory);
  p.h.ok("packet-generator delete s0");
  EXPECT_TRUE(add(4));
}

// Where each packet lies is kept, too: that is most of what small ones cost.
TEST(Streams, OfAFileOfSmallPacketsHaveABound) {
  PgHost p;
  const std::string file = p.file("small");
  const Bytes one = pcap_of({Bytes(1)});
  const auto make_of = [&](std::size_t n_packets) {
    Bytes all = part(one, 0, 24);
    all.reserve(24 + n_packets * 17);
    for (std::size_t i = 0; i < n_packets; ++i) all.insert(all.end(), one.begin() + 24, one.end());
    write_bytes(file, all);
    return p.h.cli("packet-generator new { name s interface pg0 pcap " + file + " }");
  };
  EXPECT_THAT(make_of(2'700'000).text, HasSubstr("more than 67108864 bytes"));  // 46 MB
  EXPECT_EQ(make_of(1000).status, Status::kOk);
}

TEST(Streams, OnAnotherWorker) {
  PgHost p(2);
  p.stream("worker 1 limit 5 interface pg0 " + std::string(kUdp4));
  EXPECT_EQ(p.h.host().rx_counters(p.index, 1)->packets, 5u);
}

TEST(Streams, TracedFromTheInputNodeOn) {
  PgHost p;
  must(p.h.engine->trace().add("pg-input", 2));
  p.stream("limit 3 interface pg0 " + std::string(kUdp4));
  const auto packets = p.h.engine->trace().packets(10);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].visits.front().node, "pg-input");
}

}  // namespace
}  // namespace loom::pg
