// The adjacency table: readers never see half of an entry, indices rest before they are used again.
#include <gtest/gtest.h>

#include <thread>

#include "net/adjacency/adjacency.h"

namespace loom {
namespace {

TEST(AdjacencyTable, HasTheEntriesOfEveryHost) {
  AdjacencyTable t;
  EXPECT_EQ(t.read(kAdjacencyNoRoute).kind, AdjacencyKind::kNoRoute);
  EXPECT_EQ(t.read(kAdjacencyBlackhole).kind, AdjacencyKind::kBlackhole);
  EXPECT_EQ(t.read(kAdjacencyLocal).kind, AdjacencyKind::kLocal);
  EXPECT_EQ(t.read(kAdjacencyLimitedBroadcast).kind, AdjacencyKind::kBroadcast);
}

TEST(AdjacencyTable, IndicesFromNowhereReadAsFree) {
  AdjacencyTable t;
  for (const uint32_t i :
       {99u, 300u, AdjacencyTable::kChunk * AdjacencyTable::kMaxChunks, kNoIndex})
    EXPECT_EQ(t.read(i).kind, AdjacencyKind::kFree);
  t.mark_used(kNoIndex);
}

TEST(AdjacencyTable, FreedIndexRestsBeforeItIsUsedAgain) {
  AdjacencyTable t;
  const uint32_t first = t.add({.kind = AdjacencyKind::kGlean}, kSecond);
  t.remove(first, kSecond);
  EXPECT_EQ(t.read(first).kind, AdjacencyKind::kFree);
  const uint32_t second = t.add({.kind = AdjacencyKind::kGlean}, 2 * kSecond);
  EXPECT_NE(second, first);
  EXPECT_EQ(t.add({.kind = AdjacencyKind::kGlean}, kSecond + AdjacencyTable::kReuseDelay), first);
}

TEST(AdjacencyTable, UseIsSeenOnce) {
  AdjacencyTable t;
  const uint32_t i = t.add({.kind = AdjacencyKind::kRewrite}, kSecond);
  EXPECT_FALSE(t.take_used(i));
  t.mark_used(i);
  t.mark_used(i);
  EXPECT_TRUE(t.take_used(i));
  EXPECT_FALSE(t.take_used(i));
}

TEST(AdjacencyTable, FullTableSaysSo) {
  AdjacencyTable t;
  uint32_t n = t.size();
  while (t.add({.kind = AdjacencyKind::kGlean}, kSecond) != kNoIndex) ++n;
  EXPECT_EQ(n, AdjacencyTable::kChunk * AdjacencyTable::kMaxChunks);
}

TEST(AdjacencyTable, ReadersSeeWholeEntries) {
  AdjacencyTable t;
  const auto entry = [](uint32_t i) {
    Adjacency a{.kind = AdjacencyKind::kRewrite, .tx_if = i, .ip6_mtu = static_cast<uint16_t>(i), .neighbor = i};
    a.rewrite.dst.bytes.fill(static_cast<uint8_t>(i));
    a.rewrite.src.bytes.fill(static_cast<uint8_t>(i));
    return a;
  };
  const uint32_t index = t.add(entry(0), kSecond);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint32_t i = 1; i < 200'000; ++i) t.update(index, entry(i));
    done = true;
  });
  uint64_t n_torn = 0;
  while (!done) {
    const Adjacency a = t.read(index);
    n_torn += a.ip6_mtu != static_cast<uint16_t>(a.tx_if) || a.neighbor != a.tx_if ||
              a.rewrite.src.bytes[5] != static_cast<uint8_t>(a.tx_if) ||
              a.rewrite.dst.bytes[0] != static_cast<uint8_t>(a.tx_if);
  }
  writer.join();
  EXPECT_EQ(n_torn, 0u);
  EXPECT_EQ(t.read(index).tx_if, 199'999u);
}

}  // namespace
}  // namespace loom
