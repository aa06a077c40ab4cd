// Segments that are old, forged or broken: RFC 9293 section 3.10.7.4, RFC 5961, RFC 7323 section 5.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Reset, ExactOneIsBelieved) {  // RFC 5961 section 3.2
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(rst(1)).expect_silence();
  EXPECT_EQ(s.session().reset, ResetReason::kPeerReset);
  EXPECT_EQ(s.counter("tcp4-established/reset"), 1u);
  s.expect_all_gone();
}

TEST(Reset, InTheWindowIsChallenged) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(rst(2)).expect(ack(1).at(1));
  s.at(1ms).inject(rst(60'000)).expect_silence();  // at most two a second
  s.at(501ms).inject(rst(60'000)).expect(ack(1));
  EXPECT_FALSE(s.session().reset);
  EXPECT_EQ(s.counter("tcp4-established/challenge-rst"), 3u);
}

TEST(Reset, OutsideOfTheWindowIsIgnored) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(rst(0)).expect_silence();
  s.inject(rst(70'000)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-established/blind-rst"), 2u);
  EXPECT_FALSE(s.session().reset);
}

TEST(Syn, IsChallengedWhereverItIs) {  // RFC 5961 section 4.2
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(Packet{.flags = "S"}.at(5)).expect(ack(1).at(1));
  s.at(600ms).inject(Packet{.flags = "S"}.at(900'000)).expect(ack(1).at(1));
  s.at(1200ms).inject(Packet{.flags = "S."}.at(0)).expect(ack(1).at(1));
  EXPECT_EQ(s.counter("tcp4-established/challenge-syn"), 3u);
  EXPECT_FALSE(s.session().reset);
}

TEST(Ack, OfWhatWasNeverSentIsChallenged) {  // RFC 5961 section 5.2
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(1, 11).ack(5000)).expect(ack(1));
  s.at(600ms).inject(seg(1, 11).ack(0 - 70'000u)).expect(ack(1));
  EXPECT_EQ(s.counter("tcp4-established/bad-ack"), 2u);
  EXPECT_TRUE(s.session().rx.empty()) << "nothing of such a segment is taken";
}

TEST(Ack, OldButValidOneStillBringsData) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.at(20ms).inject(ack(1001)).expect_silence();
  s.at(21ms).inject(seg(1, 101).ack(1)).expect(ack(101));
}

TEST(Ack, SegmentWithoutItIsDropped) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(Packet{.flags = "", .seq = 1, .length = 10}).expect_silence();
  EXPECT_EQ(s.counter("tcp4-established/no-ack"), 1u);
}

TEST(Sequence, OutsideOfTheWindowIsAnswered) {  // RFC 9293 section 3.10.7.4, first step
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(70'001, 70'011).ack(1)).expect(ack(1));
  EXPECT_EQ(s.counter("tcp4-established/out-of-window"), 1u);
  EXPECT_TRUE(s.session().rx.empty());
}

TEST(Sequence, EmptySegmentsOutsideAreAnsweredSlowly) {  // two confused peers must not loop
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(ack(1).at(70'001)).expect(ack(1));
  for (int i = 0; i < 10; ++i) s.inject(ack(1).at(70'001)).expect_silence();
}

TEST(Paws, OldTimestampsAreAnsweredAndDropped) {  // RFC 7323 section 5.3, R1
  TcpScript s = TcpScript::established({.timestamps = true, .quick_acks = true});
  s.at(10ms).inject(seg(1, 101)).expect(ack(101));
  s.at(20ms).inject(seg(101, 201).ack(1).ts(9000, 0)).expect(ack(101));
  EXPECT_EQ(s.counter("tcp4-established/paws"), 1u);
  s.at(30ms).inject(seg(101, 201)).expect(ack(201));
}

TEST(Paws, DoesNotHoldForResets) {  // RFC 7323 section 5.2
  TcpScript s = TcpScript::established({.timestamps = true});
  s.at(10ms).inject(rst(1).ts(1, 0)).expect_silence();
  EXPECT_EQ(s.session().reset, ResetReason::kPeerReset);
}

TEST(Paws, TimestampsOlderThan24DaysAreInvalid) {  // RFC 7323 section 5.5
  TcpScript s = TcpScript::established({.timestamps = true, .quick_acks = true});
  s.at(std::chrono::hours(25 * 24))
      .inject(seg(1, 101).ack(1).ts(3, 0))
      .expect(ack(101).ts(s.host().worker.now / kMillisecond + s.conn().ts_offset, 3));
}

TEST(Timestamps, MissingOnesDropTheSegment) {  // RFC 7323 section 3.2
  TcpScript s = TcpScript::established({.timestamps = true});
  s.at(10ms).inject(seg(1, 101).ack(1).no_ts()).expect_silence();
  EXPECT_EQ(s.counter("tcp4-established/no-timestamp"), 1u);
}

TEST(Timestamps, EchoIsOfTheSegmentThatIsAcknowledged) {  // RFC 7323 section 4.3 (B)
  TcpScript s = TcpScript::established({.timestamps = true});
  s.at(10ms).inject(seg(1001, 2001).ack(1).ts(10'500, 0)).expect(ack(1).sack(1001, 2001));
  EXPECT_EQ(s.conn().ts_recent, 10'000u) << "a hole: the echo stays with what filled it last";
  s.at(20ms).inject(seg(1, 1001).ack(1).ts(10'600, 0));
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].tsecr, 10'600u);
}

TEST(Paws, EmptySegmentsAreAnsweredSlowly) {  // two confused peers must not loop
  TcpScript s = TcpScript::established({.timestamps = true});
  s.at(10ms).inject(ack(1).ts(9000, 0)).expect(ack(1));
  for (int i = 0; i < 10; ++i) s.inject(ack(1).ts(9000, 0)).expect_silence();
  s.inject(seg(1, 101).ack(1).ts(9000, 0)).expect(ack(1));
}

// Two forged SYNs make two listeners half-open to each other.
TEST(HalfOpen, TwoOfThemDoNotAnswerEachOtherForEver) {
  for (const Packet& odd :
       {ack(1).at(500'000), Packet{.flags = "S."}.at(7).ack(9), rst(2), ack(1).at(1).ts(9000, 0)}) {
    TcpScript s = TcpScript::listening({.timestamps = odd.tsval.has_value()});
    Packet offer = syn().mss(1000);
    if (odd.tsval) offer.ts(10'000, 0);
    s.at(0ms).inject(offer).expect(syn_ack());
    s.at(10ms).inject(odd).expect(ack(1).at(1));
    for (int i = 0; i < 10; ++i) s.inject(odd).expect_silence();
    s.at(510ms).inject(odd).expect(ack(1).at(1));
  }
}

// --- Headers that lie.

std::string tcp_bytes(uint16_t port, uint8_t data_offset_words, std::size_t size) {
  std::string s(size, '\0');
  s[0] = static_cast<char>(port >> 8);
  s[1] = static_cast<char>(port);
  s[3] = 80;
  if (size > 12) s[12] = static_cast<char>(data_offset_words << 4);
  if (size > 13) s[13] = 2;  // SYN
  return s;
}

TEST(Malformed, EachKindHasItsCounter) {
  TcpScript s = TcpScript::listening();
  s.inject_raw(tcp_bytes(5000, 5, 12), true).expect_silence();      // cut within the header
  s.inject_raw(tcp_bytes(5000, 5, 20), true, 12).expect_silence();  // IP promises less
  EXPECT_EQ(s.counter("tcp4-input/too-short"), 2u);
  s.inject_raw(tcp_bytes(5000, 5, 20), true, 40).expect_silence();  // IP promises more
  EXPECT_EQ(s.counter("tcp4-input/length-overrun"), 1u);
  for (const uint8_t words : {0, 1, 4})
    s.inject_raw(tcp_bytes(5000, words, 20), true).expect_silence();
  EXPECT_EQ(s.counter("tcp4-input/data-offset-short"), 3u);
  for (const uint8_t words : {6, 15})
    s.inject_raw(tcp_bytes(5000, words, 20), true).expect_silence();
  s.inject_raw(tcp_bytes(5000, 6, 24), true, 20).expect_silence();  // into what is padding
  EXPECT_EQ(s.counter("tcp4-input/data-offset-overrun"), 3u);
  s.inject_raw(tcp_bytes(5000, 5, 20), false).expect_silence();
  EXPECT_EQ(s.counter("tcp4-input/bad-checksum"), 1u);
}

TEST(Malformed, SegmentsOverIp6HaveTheSameCounters) {
  TcpScript s = TcpScript::listening({.ip6 = true});
  s.inject_raw(tcp_bytes(5000, 5, 12), true).expect_silence();
  s.inject_raw(tcp_bytes(5000, 5, 20), true, 40).expect_silence();
  s.inject_raw(tcp_bytes(5000, 4, 20), true).expect_silence();
  s.inject_raw(tcp_bytes(5000, 6, 20), true).expect_silence();
  s.inject_raw(tcp_bytes(5000, 5, 20), false).expect_silence();
  for (const char* counter :
       {"too-short", "length-overrun", "data-offset-short", "data-offset-overrun", "bad-checksum"})
    EXPECT_EQ(s.counter(std::string("tcp6-input/") + counter), 1u) << counter;
}

// RFC 9293 section 3.9.2.3, MUST-57, RFC 1122 section 4.2.3.10. 10.0.0.255 is a subnet's broadcast
// address only to who knows the subnet: the IP layer says so.
TEST(Address, SegmentsThatWentToMoreThanOneHostAreIgnored) {
  for (const uint32_t group : {kBufferNetGroup, kBufferLinkGroup}) {
    const auto to_group = [&](Buffer& b) {
      b.flags |= group;
      b.at<Ip4Header>(b.l3_offset)->dst = Ip4Address::from_host(0x0a0000ff);
    };
    TcpScript s = TcpScript::listening();
    s.inject_altered(syn().mss(1000), to_group).expect_silence();
    EXPECT_EQ(s.worker().half_open.size(), 0u);
    TcpScript nobody;
    nobody.inject_altered(syn(), to_group).expect_silence();
    nobody.inject_altered(ack(1), to_group).expect_silence();
    EXPECT_EQ(nobody.counter("tcp4-input/to-group"), 2u);
    TcpScript open = TcpScript::established();
    open.at(0ms).inject_altered(rst(1), [&](Buffer& b) { b.flags |= group; }).expect_silence();
    EXPECT_FALSE(open.session().reset);
  }
  TcpScript s = TcpScript::listening({.ip6 = true});
  s.inject_altered(syn(), [](Buffer& b) { b.flags |= kBufferNetGroup; }).expect_silence();
  EXPECT_EQ(s.counter("tcp6-input/to-group"), 1u);
}

TEST(Address, OfManyHostsOrNoneIsNoPeer) {  // RFC 9293 MUST-63
  for (const char* source : {"224.0.0.5", "255.255.255.255", "0.0.0.0"}) {
    const auto from = [&](Buffer& b) {
      b.at<Ip4Header>(b.l3_offset)->src = IpAddress::parse(source)->ip4();
    };
    TcpScript s = TcpScript::listening();
    s.inject_altered(syn(), from).expect_silence();
    EXPECT_EQ(s.counter("tcp4-listen/bad-address"), 1u) << source;
    TcpScript nobody;
    nobody.inject_altered(syn(), from).expect_silence();
    EXPECT_EQ(nobody.counter("tcp4-reset/bad-address"), 1u) << source;
  }
}

TEST(Lookup, LeadsToConnectionsOfThisWorkerOnly) {
  TcpScript s = TcpScript::established();
  s.sessions().every_match = FlowMatch{s.session().conn, 1, FlowKind::kEstablished};
  s.at(0ms).inject(rst(1)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-input/handed-off"), 1u);
  ASSERT_EQ(s.host().handed_off.size(), 1u);
  EXPECT_EQ(s.host().handed_off[0].first, 1u);
  EXPECT_EQ(s.host().handed_off[0].second.node, "tcp4-input");
  s.sessions().every_match = FlowMatch{s.session().conn + 1, 0, FlowKind::kEstablished};
  s.inject(rst(1)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-input/vanished"), 1u);
  EXPECT_FALSE(s.session().reset);
}

TEST(Lookup, WhatARuleDeniesIsDroppedWithoutAnAnswer) {
  TcpScript s = TcpScript::listening();
  s.sessions().every_match = FlowMatch{kNoConn, 0, FlowKind::kDenied};
  s.inject(syn()).expect_silence();
  s.inject(ack(1)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-input/denied"), 2u);
  EXPECT_EQ(s.counter("tcp4-input/no-connection"), 0u);
}

TEST(Malformed, PaddingBehindTheIpLengthIsNotText) {
  TcpScript s = TcpScript::listening();
  std::string padded = tcp_bytes(5000, 5, 20) + std::string(6, 'x');
  s.inject_raw(padded, true, 20);
  EXPECT_EQ(s.counter("tcp4-listen/syn"), 1u);
  s.take_sent();
}

// RFC 9293 MUST-7. Both faults in each node that reads options.
TEST(Malformed, OptionsThatCannotBeReadDropTheSegment) {
  const std::string zero("\x05\x00\x00\x00", 4), one("\x02\x01\x00\x00", 4);
  const std::string beyond("\x08\x28\x00\x00", 4), cut("\x01\x01\x01\x08", 4);
  const auto feed = [&](TcpScript& s, const Packet& p, const std::string& node) {
    for (const std::string& o : {zero, one, beyond, cut})
      s.inject(Packet(p).options(o)).expect_silence();
    EXPECT_EQ(s.counter(node + "/option-length"), 2u) << node;
    EXPECT_EQ(s.counter(node + "/option-overrun"), 2u) << node;
  };
  TcpScript open = TcpScript::established();
  feed(open, seg(1, 11).ack(1), "tcp4-established");
  EXPECT_TRUE(open.session().rx.empty());
  open.at(0ms).app_closes().expect(fin(1));
  feed(open, ack(2), "tcp4-rcv-process");
  TcpScript listening = TcpScript::listening();
  feed(listening, syn(), "tcp4-listen");
  TcpScript opening;
  opening.app_connects().expect(syn());
  feed(opening, syn_ack(), "tcp4-syn-sent");
}

TEST(Malformed, OptionsOfAWrongLengthAreIgnoredAndCounted) {
  TcpScript s = TcpScript::listening();
  // MSS of 3 bytes, window scale of 4, SACK-permitted of 3, timestamps of 4.
  s.inject(
      syn().options(std::string("\x02\x03\x09\x03\x04\x07\x07\x04\x03\x00\x08\x04\x00\x00", 14)));
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_FALSE(sent[0].wscale_option || sent[0].sack_permitted || sent[0].tsval);
  EXPECT_EQ(s.worker().stats.ignored_options, 4u);
  s.inject(ack(1)).expect_silence();
  s.app_accepts();
  EXPECT_EQ(s.conn().cc->mss, 536u);
  TcpScript e = TcpScript::established();  // SACK blocks of 7 bytes, and none
  e.at(0ms).inject(
      ack(1).options(std::string("\x05\x09"
                                 "zzzzzzz"
                                 "\x05\x02\x01",
                                 12)));
  EXPECT_EQ(e.worker().stats.ignored_options, 2u);
}

TEST(Malformed, OptionsThatComeTwiceCountOnce) {  // the first says it
  TcpScript s = TcpScript::listening();
  s.inject(syn().options(std::string("\x02\x04\x03\xe8\x02\x04\x00\x58", 8))).expect(syn_ack());
  EXPECT_EQ(s.worker().stats.ignored_options, 1u);
  s.inject(ack(1)).expect_silence();
  s.app_accepts();
  EXPECT_EQ(s.conn().cc->mss, 1000u);
}

TEST(Malformed, SackBlocksThatOverlapCountOnce) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(6000).expect(segs(1, 6001));
  s.at(20ms).inject(ack(1).sack(1001, 3001).sack(2001, 3001).sack(1001, 2001)).expect_silence();
  ASSERT_TRUE(s.conn().sack);
  EXPECT_EQ(s.conn().sack->sacked(), 2000u);
}

TEST(Malformed, UnknownOptionsAreSkipped) {  // RFC 9293 MUST-6
  TcpScript s = TcpScript::listening();
  s.inject(syn().options(std::string("\xfd\x06\x01\x02\x03\x04\x02\x04\x03\xe8", 10)))
      .expect(syn_ack());
  s.inject(ack(1)).expect_silence();
  s.app_accepts();
  EXPECT_EQ(s.conn().cc->mss, 1000u);
}

TEST(Malformed, TinyMssIsRaised) {  // a peer cannot make us send 1-byte segments
  TcpScript s = TcpScript::listening();
  s.inject(syn().mss(1)).expect(syn_ack());
  s.inject(ack(1)).expect_silence();
  s.app_accepts();
  EXPECT_EQ(s.conn().cc->mss, 88u);
}

TEST(Malformed, UrgentDataStaysInLine) {  // RFC 6093 section 3.2
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(1, 11).ack(1).urg()).expect(ack(11));
  s.app_reads(10);
}

}  // namespace
}  // namespace loom::script
