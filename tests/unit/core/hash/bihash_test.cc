// Bihash against a std::map, at every key size, and at the ends of its limits. One thread.
#include "hash/bihash.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace loom {
namespace {

template <std::size_t N>
struct KeySize {
  static constexpr std::size_t kBytes = N;
};

template <class T>
class BihashOfAnySize : public testing::Test {
 public:
  using Table = Bihash<T::kBytes>;
  using Key = typename Table::Key;
  static std::unique_ptr<Table> make(BihashOptions options) {
    auto r = Table::create(options);
    EXPECT_TRUE(r) << (r ? "" : r.error().message);
    return std::move(r).value();
  }
  // Distinct keys for distinct n, differing in every word or, for odd n, in the last word only.
  static Key key(uint64_t n) {
    Key k{};
    if (n % 2 == 0)
      for (auto& w : k) w = n * 0x10001;
    else
      k.back() = n;
    return k;
  }
};
using Sizes = testing::Types<KeySize<8>, KeySize<16>, KeySize<24>, KeySize<40>, KeySize<48>>;
TYPED_TEST_SUITE(BihashOfAnySize, Sizes);

TYPED_TEST(BihashOfAnySize, AnEmptyTableFindsNothing) {
  const auto t = TestFixture::make({.buckets = 8, .seed = 1});
  EXPECT_FALSE(t->find(TestFixture::key(0)));
  EXPECT_FALSE(t->find(TestFixture::key(1)));
  EXPECT_EQ(t->del(TestFixture::key(1)), Status::kNotFound);
  EXPECT_EQ(t->size(), 0u);
}

TYPED_TEST(BihashOfAnySize, AddOverwritesAndAddIfAbsentDoesNot) {
  const auto t = TestFixture::make({.buckets = 8, .seed = 1});
  const auto k = TestFixture::key(7);
  EXPECT_EQ(t->add_if_absent(k, 1), Status::kOk);
  EXPECT_EQ(t->add_if_absent(k, 2), Status::kExists);
  EXPECT_EQ(t->find(k), 1u);
  EXPECT_EQ(t->add(k, 3), Status::kOk);
  EXPECT_EQ(t->find(k), 3u);
  EXPECT_EQ(t->size(), 1u);
  EXPECT_EQ(t->del(k), Status::kOk);
  EXPECT_FALSE(t->find(k));
  EXPECT_EQ(t->size(), 0u);
}

// Few buckets, so that pages fill, buckets double, empty and start again.
TYPED_TEST(BihashOfAnySize, AgreesWithAMapUnderRandomOperations) {
  for (const uint64_t seed : {1, 2, 3}) {
    const auto t = TestFixture::make({.buckets = 4, .seed = seed});
    std::map<typename TestFixture::Key, uint64_t> model;
    std::mt19937_64 rng(seed);
    const uint64_t kinds = 3000;
    for (int i = 0; i < 60'000; ++i) {
      const auto k = TestFixture::key(rng() % kinds);
      const uint64_t v = rng();
      // Growing and shrinking phases alternate.
      const bool growing = (i / 10'000) % 2 == 0;
      switch (rng() % 4) {
        case 0:
          ASSERT_EQ(t->add(k, v), Status::kOk);
          model[k] = v;
          break;
        case 1: {
          const bool fresh = model.try_emplace(k, v).second;
          ASSERT_EQ(t->add_if_absent(k, v), fresh ? Status::kOk : Status::kExists);
          break;
        }
        case 2:
          if (growing && rng() % 2) break;
          ASSERT_EQ(t->del(k), model.erase(k) ? Status::kOk : Status::kNotFound);
          break;
        default:
          const auto it = model.find(k);
          ASSERT_EQ(t->find(k), it == model.end() ? std::nullopt : std::optional(it->second));
      }
      ASSERT_EQ(t->size(), model.size());
    }
    for (uint64_t n = 0; n < kinds; ++n) {
      const auto it = model.find(TestFixture::key(n));
      ASSERT_EQ(t->find(TestFixture::key(n)),
                it == model.end() ? std::nullopt : std::optional(it->second));
    }
    std::map<typename TestFixture::Key, uint64_t> seen;
    t->for_each([&](const auto& k, uint64_t v) { EXPECT_TRUE(seen.emplace(k, v).second); });
    EXPECT_EQ(seen, model);
  }
}

TYPED_TEST(BihashOfAnySize, GrowsFarBeyondItsBuckets) {
  const auto t = TestFixture::make({.buckets = 16, .seed = 5});
  const uint64_t n = 20'000;  // 1250 keys a bucket
  for (uint64_t i = 0; i < n; ++i) ASSERT_EQ(t->add(TestFixture::key(i), i), Status::kOk);
  for (uint64_t i = 0; i < n; ++i) ASSERT_EQ(t->find(TestFixture::key(i)), i);
  EXPECT_FALSE(t->find(TestFixture::key(n)));
  EXPECT_EQ(t->size(), n);
  EXPECT_EQ(t->linear_buckets(), 0u);  // random keys always spread in the end
}

TYPED_TEST(BihashOfAnySize, GivesBlocksBackWhenItsKeysGo) {
  const auto t = TestFixture::make({.buckets = 64, .seed = 6});
  const auto fill_and_empty = [&] {
    for (uint64_t i = 0; i < 5000; ++i) ASSERT_EQ(t->add(TestFixture::key(i), i), Status::kOk);
    for (uint64_t i = 0; i < 5000; ++i) ASSERT_EQ(t->del(TestFixture::key(i)), Status::kOk);
  };
  fill_and_empty();
  const auto after_first = t->committed_bytes();
  for (int i = 0; i < 5; ++i) fill_and_empty();
  EXPECT_EQ(t->committed_bytes(), after_first);
  EXPECT_EQ(t->size(), 0u);
}

TYPED_TEST(BihashOfAnySize, OutOfMemoryRefusesTheKeyAndKeepsTheRest) {
  const auto t = TestFixture::make({.buckets = 1024, .max_bytes = 64 << 10, .seed = 7});
  std::vector<uint64_t> in, out;
  for (uint64_t i = 0; i < 4000; ++i) {
    const Status s = t->add(TestFixture::key(i), i);
    ASSERT_TRUE(s == Status::kOk || s == Status::kNoMemory);
    (s == Status::kOk ? in : out).push_back(i);
  }
  ASSERT_FALSE(in.empty());
  ASSERT_FALSE(out.empty());
  EXPECT_EQ(t->size(), in.size());
  for (const auto i : in) ASSERT_EQ(t->find(TestFixture::key(i)), i);
  for (const auto i : out) ASSERT_FALSE(t->find(TestFixture::key(i)));
  // What is deleted makes room again.
  for (const auto i : in) ASSERT_EQ(t->del(TestFixture::key(i)), Status::kOk);
  EXPECT_EQ(t->add(TestFixture::key(out[0]), 1), Status::kOk);
}

// Keys that agree in the low four of the hash bits that pick their pages, as if the secret had
// leaked, fit in a sixteenth of any number of pages, so doubling three times does not help. The
// bucket is searched linearly, still right, and still bounded.
TYPED_TEST(BihashOfAnySize, CollidingKeysMakeABoundedLinearBucket) {
  using Table = typename TestFixture::Table;
  const auto t = TestFixture::make({.buckets = 1, .seed = 8});
  std::vector<typename TestFixture::Key> same;
  for (uint64_t n = 0; same.size() < 600; ++n)
    if (const auto h = t->hash(TestFixture::key(n)); !first_page(h, 4) && !second_page(h, 4))
      same.push_back(TestFixture::key(n));
  std::size_t taken = 0;
  while (taken < same.size() && t->add(same[taken], taken) == Status::kOk) ++taken;
  EXPECT_EQ(t->linear_buckets(), 1u);
  // All slots of the largest linear bucket were used before it was refused.
  EXPECT_EQ(taken, BihashPage<TypeParam::kBytes>::kSlots << Table::kMaxLinearLog2);
  for (std::size_t i = 0; i < same.size(); ++i)
    ASSERT_EQ(t->find(same[i]), i < taken ? std::optional<uint64_t>(i) : std::nullopt);
  for (std::size_t i = 0; i < taken; ++i) ASSERT_EQ(t->del(same[i]), Status::kOk);
  EXPECT_EQ(t->linear_buckets(), 0u);
}

TYPED_TEST(BihashOfAnySize, ABatchResolvesLikeSingleLookups) {
  const auto t = TestFixture::make({.buckets = 256, .seed = 9});
  for (uint64_t i = 0; i < 1000; i += 2) ASSERT_EQ(t->add(TestFixture::key(i), i), Status::kOk);
  std::array<uint64_t, 256> hashes;
  for (uint64_t base = 0; base < 1024; base += hashes.size()) {
    for (std::size_t i = 0; i < hashes.size(); ++i)
      t->prefetch_bucket(hashes[i] = t->hash(TestFixture::key(base + i)));
    for (const auto h : hashes) t->prefetch_page(h);
    for (std::size_t i = 0; i < hashes.size(); ++i) {
      const uint64_t n = base + i;
      uint64_t v = ~0ull;
      const bool is_there = n < 1000 && n % 2 == 0;
      ASSERT_EQ(t->find_with_hash(TestFixture::key(n), hashes[i], v), is_there);
      EXPECT_EQ(v, is_there ? n : ~0ull);
    }
  }
}

TEST(Bihash, AMillionEmptyBucketsCommitAlmostNothing) {
  const auto t =
      std::move(Bihash<16>::create({.buckets = 1 << 20, .max_bytes = std::size_t{4} << 30}))
          .value();
  EXPECT_EQ(t->committed_bytes(), 0u);
  ASSERT_EQ(t->add({1, 2}, 3), Status::kOk);
  EXPECT_LE(t->committed_bytes(), 64u << 10);
}

TEST(Bihash, RefusesABucketCountOutOfRange) {
  EXPECT_EQ(Bihash<8>::create({.buckets = 0}).error().code, Status::kInvalid);
  EXPECT_EQ(Bihash<8>::create({.buckets = (std::size_t{1} << 32) + 1}).error().code,
            Status::kInvalid);
}

TEST(Bihash, ForEachMayChangeTheTable) {
  auto t = std::move(Bihash<8>::create({.buckets = 4, .seed = 10})).value();
  for (uint64_t i = 0; i < 500; ++i) ASSERT_EQ(t->add({i}, i), Status::kOk);
  std::size_t n = 0;
  t->for_each([&](const auto& key, uint64_t) {
    EXPECT_EQ(t->del(key), Status::kOk);
    ++n;
  });
  EXPECT_EQ(n, 500u);
  EXPECT_EQ(t->size(), 0u);
}

TEST(Bihash, KeyOfTakesTheBytesOfAStruct) {
  struct Flow {
    uint32_t saddr, daddr;
    uint16_t sport, dport;
    uint32_t fib;
  };
  auto t = std::move(Bihash<16>::create({.seed = 11})).value();
  ASSERT_EQ(t->add(t->key_of(Flow{1, 2, 3, 4, 5}), 42), Status::kOk);
  EXPECT_EQ(t->find(t->key_of(Flow{1, 2, 3, 4, 5})), 42u);
  EXPECT_FALSE(t->find(t->key_of(Flow{1, 2, 4, 3, 5})));
}

}  // namespace
}  // namespace loom
