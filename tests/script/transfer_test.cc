// Data in order: sending, receiving, acknowledging.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Transfer, WritesLeaveInSegmentsOfTheMss) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(2500).expect(segs(1, 2501));
  s.at(20ms).inject(ack(2501)).expect_silence();
  EXPECT_TRUE(s.session().tx.empty());
}

TEST(Transfer, TextReachesTheApplication) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(1, 101)).expect(ack(101));
  s.app_reads(100);
}

}  // namespace
}  // namespace loom::script
