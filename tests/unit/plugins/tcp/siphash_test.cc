#include <hostloom/siphash.h>

#include <gtest/gtest.h>

#include <array>

namespace loom::tcp {
namespace {

// Reference vectors of the SipHash-2-4 paper's implementation: key 00..0f, messages 00 01 02 ... of
// 0, 8 and 16 bytes.
TEST(SipHash, ReferenceVectors) {
  const SipKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const std::array<uint64_t, 2> words{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  EXPECT_EQ(siphash24(key, {}), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(siphash24(key, {words.data(), 1}), 0x93f5f5799a932462u);
  EXPECT_EQ(siphash24(key, words), 0x3f2acc7f57c29bdbu);
}

}  // namespace
}  // namespace loom::tcp
