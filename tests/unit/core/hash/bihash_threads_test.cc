// Bihash with real threads: what readers may rely on while writers add, delete, grow and recycle.
// Meant to run under the thread sanitizer as well. Every value is a function of its key, so a torn
// or recycled read shows.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>

#include "hash/bihash.h"

namespace loom {
namespace {

constexpr int kRounds = 60;
constexpr std::size_t kKeyBytes = 16;
using Table = Bihash<kKeyBytes>;
constexpr uint64_t kVersions = 4;  // a key's value is one of this many, all derived from the key

Table::Key key_of(uint64_t n) { return {n, n * 0x9e3779b97f4a7c15ull}; }
uint64_t value_of(uint64_t n, uint64_t version) { return n * kVersions + version; }

// Buckets: few, so that all threads meet in the same ones and blocks are recycled all the time.
std::unique_ptr<Table> make(std::size_t buckets) {
  return std::move(Table::create({.buckets = buckets, .seed = 99})).value();
}

struct Readers {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  ~Readers() {
    stop = true;
    for (auto& t : threads) t.join();
  }
};

// Keys [0, kStay) are there all the time; keys from kStay on come and go.
constexpr uint64_t kStay = 60, kAll = 1020;  // multiples of the number of writers

void look_up_until_stopped(const Table& t, const std::atomic<bool>& stop, uint64_t seed,
                           std::atomic<uint64_t>& lookups) {
  std::mt19937_64 rng(seed);
  do {
    const uint64_t n = rng() % kAll;
    uint64_t v = 0;
    const bool found = t.find(key_of(n), v);
    ASSERT_TRUE(found || n >= kStay) << "a key that was never deleted went missing: " << n;
    ASSERT_TRUE(!found || v / kVersions == n) << "the value of another key: " << v;
    lookups.fetch_add(1, std::memory_order_relaxed);
  } while (!stop.load(std::memory_order_relaxed));
}

// Writer `w` of `n_writers` owns the keys that are w modulo n_writers, so it knows their state.
void churn(Table& t, uint64_t w, uint64_t n_writers, int rounds) {
  std::mt19937_64 rng(1000 + w);
  for (int r = 0; r < rounds; ++r) {
    for (uint64_t n = kStay + w; n < kAll; n += n_writers)
      ASSERT_EQ(t.add_if_absent(key_of(n), value_of(n, rng() % kVersions)), Status::kOk);
    for (uint64_t n = w; n < kAll; n += n_writers)
      ASSERT_EQ(t.add(key_of(n), value_of(n, rng() % kVersions)), Status::kOk);
    for (uint64_t n = kStay + w; n < kAll; n += n_writers) ASSERT_EQ(t.del(key_of(n)), Status::kOk);
  }
}

void run_readers_and_writers(std::size_t buckets) {
  const auto t = make(buckets);
  for (uint64_t n = 0; n < kStay; ++n) ASSERT_EQ(t->add(key_of(n), value_of(n, 0)), Status::kOk);
  std::atomic<uint64_t> lookups{0};
  {
    Readers readers;
    for (uint64_t i = 0; i < 3; ++i)
      readers.threads.emplace_back([&, i] { look_up_until_stopped(*t, readers.stop, i, lookups); });
    std::vector<std::thread> writers;
    for (uint64_t w = 0; w < 3; ++w) writers.emplace_back([&, w] { churn(*t, w, 3, kRounds); });
    for (auto& w : writers) w.join();
  }
  EXPECT_GT(lookups.load(), 0u);
  EXPECT_EQ(t->size(), kStay);
}

TEST(BihashThreads, ReadersAndWritersMeetInOneBucket) { run_readers_and_writers(1); }
TEST(BihashThreads, ReadersAndWritersMeetInManyBuckets) { run_readers_and_writers(256); }

TEST(BihashThreads, AnIterationSeesWhatStaysExactlyOnce) {
  const auto t = make(8);
  for (uint64_t n = 0; n < kStay; ++n) ASSERT_EQ(t->add(key_of(n), value_of(n, 0)), Status::kOk);
  std::atomic<bool> done{false};
  std::vector<std::thread> writers;
  for (uint64_t w = 0; w < 2; ++w) writers.emplace_back([&, w] { churn(*t, w, 2, kRounds); });
  std::thread iterator([&] {
    int rounds = 0;
    do {
      std::multiset<uint64_t> seen;
      t->for_each([&](const Table::Key& k, uint64_t v) {
        ASSERT_EQ(k, key_of(v / kVersions)) << "key and value do not belong together";
        seen.insert(k[0]);
      });
      for (uint64_t n = 0; n < kStay; ++n) ASSERT_EQ(seen.count(n), 1u) << n;
      ++rounds;
    } while (!done.load(std::memory_order_relaxed));
    EXPECT_GT(rounds, 0);
  });
  for (auto& w : writers) w.join();
  done = true;
  iterator.join();
}

// The narrowest race: one slot changes hands between two keys as fast as it can, while readers are
// in the middle of comparing it. Whoever finds key n must get n.
TEST(BihashThreads, ASlotThatChangesHandsNeverMixesTwoKeys) {
  const auto t = std::move(Bihash<48>::create({.buckets = 1, .seed = 5})).value();
  const auto long_key = [](uint64_t n) { return Bihash<48>::Key{1, 2, 3, 4, 5, n}; };
  ASSERT_EQ(t->add(long_key(1), 1), Status::kOk);  // keeps the block: only the slot is recycled
  std::atomic<uint64_t> found{0}, wrong{0};
  {
    Readers readers;
    for (uint64_t n = 2; n < 4; ++n)
      readers.threads.emplace_back([&, n] {
        uint64_t hits = 0, mixed = 0, v = 0;
        while (!readers.stop.load(std::memory_order_relaxed)) {
          if (!t->find(long_key(n), v)) continue;
          ++hits;
          mixed += v != n;
        }
        found += hits;
        wrong += mixed;
      });
    for (int i = 0; i < 400'000; ++i) {
      const uint64_t n = 2 + static_cast<uint64_t>(i % 2);
      ASSERT_EQ(t->add(long_key(n), n), Status::kOk);
      ASSERT_EQ(t->del(long_key(n)), Status::kOk);
    }
  }
  EXPECT_GT(found.load(), 0u);
  EXPECT_EQ(wrong.load(), 0u);
}

// Exactly one of the threads that race to add a key may win: two workers that accept the same
// 5-tuple must not both believe it.
TEST(BihashThreads, OneWriterWinsAKey) {
  const auto t = make(16);
  constexpr uint64_t kKeys = 2000;
  std::atomic<uint64_t> wins{0};
  std::vector<std::thread> threads;
  for (uint64_t w = 0; w < 4; ++w)
    threads.emplace_back([&, w] {
      for (uint64_t n = 0; n < kKeys; ++n)
        if (t->add_if_absent(key_of(n), value_of(n, w)) == Status::kOk) ++wins;
    });
  for (auto& x : threads) x.join();
  EXPECT_EQ(wins.load(), kKeys);
  EXPECT_EQ(t->size(), kKeys);
}

// Why a writer that is descheduled while it holds a bucket costs readers nothing: the lock bit does
// not make two words differ, and what they do compare changes with every generation.
TEST(BihashThreads, TheLockBitIsInvisibleToReaders) {
  const BucketWord free_word{BucketWord{}.next(7, 3, false)};
  const BucketWord locked{free_word.raw | BucketWord::kLock};
  EXPECT_TRUE(free_word.same(locked));
  EXPECT_EQ(locked.block(), 7u);
  EXPECT_EQ(locked.log2_pages(), 3u);
  EXPECT_FALSE(free_word.same(free_word.next()));
}

}  // namespace
}  // namespace loom
