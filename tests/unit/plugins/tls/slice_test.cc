// What handshakes may take of a round, by a clock that the test moves.
#include "slice.h"

#include <gtest/gtest.h>

namespace loom::tls {
namespace {

TimeNs slice_now = 0;
void takes(TimeNs t) { slice_now += t; }

struct TlsSlice : testing::Test {
  HandshakeSlice slice{+[]() noexcept { return slice_now; }};
};

TEST_F(TlsSlice, IsUsedUpAfterAMillisecondOfItsRound) {
  EXPECT_FALSE(slice.is_used_up(1));
  slice.measure([] { takes(kMillisecond - 1); });
  EXPECT_FALSE(slice.is_used_up(1));
  slice.measure([] { takes(1); });
  EXPECT_TRUE(slice.is_used_up(1));
  EXPECT_FALSE(slice.is_used_up(2));
}

TEST_F(TlsSlice, WhatIsMeasuredWithinCountsOnce) {
  (void)slice.is_used_up(1);
  slice.measure([this] {
    takes(100);
    slice.measure([] { takes(200); });
    takes(300);
  });
  EXPECT_EQ(slice.spent(), 600u);
}

TEST_F(TlsSlice, ARoundThatBeginsWithinHasNothingOfTheOneBefore) {
  (void)slice.is_used_up(1);
  slice.measure([this] {
    takes(5 * kMillisecond);
    EXPECT_FALSE(slice.is_used_up(2));
    slice.measure([] { takes(200); });
  });
  EXPECT_EQ(slice.spent(), 200u);
  EXPECT_FALSE(slice.is_used_up(2));
}

}  // namespace
}  // namespace loom::tls
