// The keyed hash spreads the keys that real traffic has, and a collision under one secret is none
// under another.
#include "hash/keyed_hash.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <unordered_map>
#include <vector>

namespace loom {
namespace {

// The largest bucket when consecutive ports of one address pair fall into as many buckets as there
// are keys. Random balls give about ln n / ln ln n, 8 or 9 for 2^16.
template <class Pick>
unsigned fullest(Pick pick) {
  const HashSecret s = HashSecret::from_seed(1);
  std::vector<unsigned> load(1 << 16);
  unsigned most = 0;
  for (uint64_t port = 0; port < load.size(); ++port) {
    const uint64_t h = keyed_hash<2>({0x0a000001'0a000002, port << 16 | 80}, s);
    most = std::max(most, ++load[pick(h) & 0xffff]);
  }
  return most;
}

TEST(KeyedHash, ConsecutivePortsSpreadOverEveryPartOfTheHash) {
  EXPECT_LE(fullest([](uint64_t h) { return h; }), 12u);
  EXPECT_LE(fullest([](uint64_t h) { return h >> 32; }), 12u);
  EXPECT_LE(fullest([](uint64_t h) { return h >> 48; }), 12u);
}

TEST(KeyedHash, EveryBitOfTheKeyMovesAboutHalfOfTheHash) {
  const HashSecret s = HashSecret::from_seed(2);
  const std::array<uint64_t, 6> key{1, 2, 3, 4, 5, 6};
  const uint64_t base = keyed_hash(key, s);
  for (std::size_t bit = 0; bit < 6 * 64; ++bit) {
    auto k = key;
    k[bit / 64] ^= 1ull << (bit % 64);
    const int moved = std::popcount(base ^ keyed_hash(k, s));
    EXPECT_GE(moved, 10) << "bit " << bit;
    EXPECT_LE(moved, 54) << "bit " << bit;
  }
}

// The attack that a seeded CRC falls to: keys prepared to share their low 12 bits under one secret
// are spread like any others under the next.
TEST(KeyedHash, CollisionsDoNotCarryOverToAnotherSecret) {
  const HashSecret known = HashSecret::from_seed(3), fresh = HashSecret::from_seed(4);
  std::vector<std::array<uint64_t, 2>> prepared;
  for (uint64_t n = 0; prepared.size() < 256; ++n)
    if ((keyed_hash<2>({n, 7}, known) & 0xfff) == 0) prepared.push_back({n, 7});
  std::unordered_map<uint64_t, unsigned> load;
  unsigned most = 0;
  for (const auto& k : prepared) most = std::max(most, ++load[keyed_hash(k, fresh) & 0xfff]);
  EXPECT_LE(most, 4u);  // 256 balls in 4096 bins
}

TEST(KeyedHash, RandomSecretsDiffer) {
  EXPECT_NE(HashSecret::random().words, HashSecret::random().words);
}

}  // namespace
}  // namespace loom
