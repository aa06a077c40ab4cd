// When data in order is acknowledged: at once, by an answer, or within the delay. RFC 9293 section
// 3.8.6.3, RFC 5681 section 4.2.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(DelayedAck, EverySecondFullSegmentAtOnce) {  // RFC 9293 section 3.8.6.3
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(1, 1001)).expect_silence();
  s.at(1ms).inject(seg(1001, 2001)).expect(ack(2001));
  s.at(2ms).inject(seg(2001, 3001)).expect_silence();
  s.at(12ms).expect(ack(3001));  // half a round trip of 20 ms
}

TEST(DelayedAck, IsBoundedByConfiguration) {
  TcpScript s = TcpScript::established({.config = "max-delack-ms 5"});
  s.at(0ms).inject(seg(1, 11)).expect_silence();
  s.at(5ms).expect(ack(11));
}

TEST(DelayedAck, RidesOnData) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(1, 101)).expect_silence();
  s.at(5ms).app_writes(100).expect(seg(1, 101).ack(101));
  s.at(100ms).expect_silence();
  s.inject(ack(101));
}

TEST(DelayedAck, FirstSegmentsAreAcknowledgedAtOnce) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  for (uint32_t i = 0; i < 16; ++i) s.inject(seg(1 + 10 * i, 11 + 10 * i)).expect(ack(11 + 10 * i));
  s.inject(seg(161, 171)).expect_silence();
  s.at(10ms).expect(ack(171));
}

// Who answers soon will do so again.
TEST(DelayedAck, AfterAnAnswerAcknowledgementsRideOnData) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(1, 101)).expect(ack(101));
  s.at(1ms).app_writes(100).expect(seg(1, 101).ack(101));
  s.at(2ms).inject(seg(101, 201).ack(101)).expect_silence();
  s.app_writes(100).expect(seg(101, 201).ack(201));
}

TEST(DelayedAck, AnAnswerThatTakesLongPromisesNothing) {
  TcpScript s = TcpScript::established({.quick_acks = true, .config = "max-delack-ms 5"});
  s.at(0ms).inject(seg(1, 101)).expect(ack(101));
  s.at(8ms).app_writes(100).expect(seg(1, 101).ack(101));
  s.at(9ms).inject(seg(101, 201).ack(101)).expect(ack(201));
  s.app_writes(100).expect(seg(101, 201).ack(201));  // soon
  s.inject(seg(201, 301).ack(201)).expect_silence();
}

TEST(DelayedAck, NeitherDoesOneThatTakesLongWhenThereWasAnAcknowledgementMeanwhile) {
  TcpScript s = TcpScript::established({.quick_acks = true, .config = "max-delack-ms 5"});
  s.at(0ms).inject(seg(1, 101)).expect(ack(101));
  s.at(7ms).inject(ack(1)).expect_silence();
  s.at(8ms).app_writes(100).expect(seg(1, 101).ack(101));
  s.at(9ms).inject(seg(101, 201).ack(101)).expect(ack(201));
}

// Nobody has asked: what it gets in turn is acknowledged as before.
TEST(DelayedAck, DataThatAnswersNothingPromisesNothing) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).app_writes(100).expect(seg(1, 101));
  s.at(1ms).inject(seg(1, 101).ack(101)).expect(ack(101));
}

// Who has lost something has a small window, and may have no second segment to send.
TEST(DelayedAck, AfterAGapSegmentsAreAcknowledgedAtOnceAgain) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(1001, 2001)).expect(ack(1).sack(1001, 2001));
  s.at(1ms).inject(seg(1, 1001)).expect(ack(2001));
  for (uint32_t at = 2001; at < 17'001; at += 1000) {  // 15, and the one that has filled it
    s.inject(seg(at, at + 1000)).expect(ack(at + 1000));
    s.app_reads(1000);
  }
  s.inject(seg(17'001, 18'001)).expect_silence();
  s.at(11ms).expect(ack(18'001));
}

TEST(DelayedAck, SoTheyAreAfterWhatWasSentTwice) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(1, 1001)).expect(ack(1001));
  s.at(1ms).app_writes(100).expect(seg(1, 101).ack(1001));  // acknowledgements ride on answers
  s.at(2ms).inject(seg(1001, 2001).ack(101)).expect_silence();
  s.at(3ms).app_writes(100).expect(seg(101, 201).ack(2001));
  s.at(30ms).inject(seg(1001, 2001).ack(101)).expect(ack(2001));  // that was lost
  s.at(31ms).inject(seg(2001, 3001).ack(201)).expect(ack(3001));
  s.at(32ms).inject(seg(3001, 4001).ack(201)).expect(ack(4001));
}

// RFC 9293 section 3.8.4: no loss.
TEST(DelayedAck, AKeepaliveChangesNothing) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(1, 101)).expect_silence();
  s.at(10ms).expect(ack(101));
  s.at(11ms).inject(seg(100, 100)).expect(ack(101));
  s.at(12ms).inject(seg(100, 101)).expect(ack(101));
  s.at(13ms).inject(seg(101, 201)).expect_silence();
  s.at(23ms).expect(ack(201));
}

TEST(DelayedAck, OneForAFrame) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(segs(1, 20'001)).expect(ack(20'001));
  EXPECT_EQ(s.counter("tcp4-output/ack"), 2u) << "the handshake's, and this";
}

TEST(DelayedAck, MergedPacketsAreAcknowledgedAtOnce) {  // GRO
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(1, 5001)).expect(ack(5001));
}

}  // namespace
}  // namespace loom::script
