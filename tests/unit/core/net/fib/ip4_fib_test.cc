// Ip4Fib: longest-prefix match, restoring what a deleted prefix covered, and giving plies back.
#include "net/fib/ip4_fib.h"

#include <gtest/gtest.h>

#include <random>

#include "fib_model.h"

namespace loom {
namespace {

// One thread: nothing can be inside a lookup while the table changes.
const FibDefer kAtOnce = [](std::function<void()> release) { release(); };

std::unique_ptr<Ip4Fib> make(const Ip4FibOptions& options = {}) {
  return std::move(Ip4Fib::create(kAtOnce, options)).value();
}

TEST(Ip4Fib, AnEmptyTableHasNoRoute) {
  const auto fib = make();
  EXPECT_EQ(fib->lookup(ip4("0.0.0.0")), kNoIndex);
  EXPECT_EQ(fib->lookup(ip4("255.255.255.255")), kNoIndex);
  EXPECT_EQ(fib->size(), 0u);
  EXPECT_EQ(fib->plies(), 0u);
}

TEST(Ip4Fib, TheLongestPrefixWinsWhateverTheOrderOfAdding) {
  const std::array<const char*, 5> texts = {"10.0.0.0/7", "10.0.0.0/8", "10.1.0.0/16",
                                            "10.1.2.0/24", "10.1.2.3/32"};
  std::array<uint32_t, 5> order = {0, 1, 2, 3, 4};
  do {
    const auto fib = make();
    for (const auto i : order) ASSERT_EQ(fib->add(prefix(texts[i]), i), Status::kOk);
    EXPECT_EQ(fib->lookup(ip4("11.0.0.0")), 0u);
    EXPECT_EQ(fib->lookup(ip4("10.2.0.0")), 1u);
    EXPECT_EQ(fib->lookup(ip4("10.1.3.0")), 2u);
    EXPECT_EQ(fib->lookup(ip4("10.1.2.4")), 3u);
    EXPECT_EQ(fib->lookup(ip4("10.1.2.3")), 4u);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(Ip4Fib, DeletingRestoresTheCoveringPrefix) {
  const auto fib = make();
  ASSERT_EQ(fib->add(prefix("0.0.0.0/0"), 1), Status::kOk);
  ASSERT_EQ(fib->add(prefix("192.0.2.0/25"), 2), Status::kOk);
  ASSERT_EQ(fib->add(prefix("192.0.2.64/26"), 3), Status::kOk);
  ASSERT_EQ(fib->del(prefix("192.0.2.0/25")), Status::kOk);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.1")), 1u);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.65")), 3u);
  ASSERT_EQ(fib->del(prefix("0.0.0.0/0")), Status::kOk);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.1")), kNoIndex);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.65")), 3u);
  ASSERT_EQ(fib->del(prefix("192.0.2.64/26")), Status::kOk);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.65")), kNoIndex);
  EXPECT_EQ(fib->plies(), 0u);
}

TEST(Ip4Fib, HostBitsAreIgnored) {
  const auto fib = make();
  ASSERT_EQ(fib->add(prefix("192.0.2.77/24"), 5), Status::kOk);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.1")), 5u);
  EXPECT_EQ(fib->find_exact(prefix("192.0.2.0/24")), 5u);
  EXPECT_EQ(fib->del(prefix("192.0.2.200/24")), Status::kOk);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.77")), kNoIndex);
}

TEST(Ip4Fib, AddReplacesAValue) {
  const auto fib = make();
  ASSERT_EQ(fib->add(prefix("192.0.2.1/32"), 0), Status::kOk);
  ASSERT_EQ(fib->add(prefix("192.0.2.1/32"), kMaxFibValue), Status::kOk);
  EXPECT_EQ(fib->lookup(ip4("192.0.2.1")), kMaxFibValue);
  EXPECT_EQ(fib->size(), 1u);
}

TEST(Ip4Fib, RefusesWhatItCannotHold) {
  const auto fib = make();
  EXPECT_EQ(fib->add(prefix("2001:db8::/32"), 1), Status::kInvalid);
  EXPECT_EQ(fib->add({ip4("1.2.3.4"), 33}, 1), Status::kInvalid);
  EXPECT_EQ(fib->add(prefix("10.0.0.0/8"), kMaxFibValue + 1), Status::kInvalid);
  EXPECT_EQ(fib->add(prefix("10.0.0.0/8"), kNoIndex), Status::kInvalid);
  EXPECT_EQ(fib->del(prefix("10.0.0.0/8")), Status::kNotFound);
  EXPECT_EQ(fib->del(prefix("2001:db8::/32")), Status::kNotFound);
  EXPECT_FALSE(fib->find_exact(prefix("2001:db8::/32")));
  EXPECT_EQ(fib->size(), 0u);
}

// Prefixes crowd around a few addresses, so that they nest and share plies; addresses are taken
// from the edges of the prefixes, where mistakes are.
TEST(Ip4Fib, AgreesWithAModelUnderRandomChanges) {
  for (const uint64_t seed : {1, 2}) {
    std::mt19937_64 rng(seed);
    const auto fib = make();
    FibModel model;
    const uint32_t bases[] = {0x0a010000, 0x0a01ff00, 0xc0000200, 0, 0xffffff00};
    const auto random_prefix = [&] {
      const uint32_t noise = static_cast<uint32_t>(rng()) >> (rng() % 33 ? 16 + rng() % 16 : 0);
      const auto length = static_cast<uint8_t>(rng() % 3 ? 14 + rng() % 19 : rng() % 33);
      return without_host_bits({Ip4Address::from_host(bases[rng() % 5] ^ noise), length});
    };
    const auto check_around = [&](const IpPrefix& p) {
      const uint32_t first = p.address.ip4().host();
      const uint32_t last = first | (p.length == 32 ? 0 : ~0u >> p.length);
      for (const uint32_t a :
           {first - 1, first, first + 1, last - 1, last, last + 1, static_cast<uint32_t>(rng())}) {
        const auto address = Ip4Address::from_host(a);
        ASSERT_EQ(fib->lookup(address), model.lookup(address))
            << address.str() << " after changing " << p.str() << ", seed " << seed;
      }
    };
    for (int i = 0; i < 6000; ++i) {
      const bool growing = (i / 1000) % 2 == 0;
      auto p = random_prefix();
      if (rng() % 4 < (growing ? 3u : 1u)) {
        const auto value = static_cast<uint32_t>(rng() % 1000);
        ASSERT_EQ(fib->add(p, value), Status::kOk);
        model.routes[p] = value;
      } else {
        if (!model.routes.empty() && rng() % 8) {
          const auto it = model.routes.lower_bound(p);
          if (it != model.routes.end()) p = it->first;
        }
        ASSERT_EQ(fib->del(p), model.routes.erase(p) ? Status::kOk : Status::kNotFound);
      }
      check_around(p);
      if (HasFatalFailure()) return;
      ASSERT_EQ(fib->size(), model.routes.size());
    }
    std::map<IpPrefix, uint32_t> seen;
    fib->for_each([&](const IpPrefix& p, uint32_t v) {
      EXPECT_TRUE(seen.empty() || seen.rbegin()->first < p) << "out of order";
      seen[p] = v;
    });
    EXPECT_EQ(seen, model.routes);
    for (const auto& [p, v] : seen) EXPECT_EQ(fib->find_exact(p), v);
    // Nothing is left when the last route goes: no words, no plies.
    for (const auto& [p, v] : seen) {
      ASSERT_EQ(fib->del(p), Status::kOk);
      model.routes.erase(p);
      check_around(p);
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(fib->plies(), 0u);
  }
}

TEST(Ip4Fib, OutOfMemoryChangesNothing) {
  // The root takes 256 KB, and a few plies are left.
  const auto fib = make({.max_bytes = (256 << 10) + (16 << 10)});
  uint32_t n = 0;
  while (fib->add({Ip4Address::from_host(n << 16 | 1), 32}, n) == Status::kOk) ++n;
  EXPECT_GT(n, 0u);
  EXPECT_LT(n, 16u);
  EXPECT_EQ(fib->size(), n);
  EXPECT_EQ(fib->lookup(Ip4Address::from_host(n << 16 | 1)), kNoIndex);
  for (uint32_t i = 0; i < n; ++i) EXPECT_EQ(fib->lookup(Ip4Address::from_host(i << 16 | 1)), i);
  // Short prefixes need no ply, and deleting makes room.
  EXPECT_EQ(fib->add(prefix("0.0.0.0/0"), 7), Status::kOk);
  EXPECT_EQ(fib->del({Ip4Address::from_host(1), 32}), Status::kOk);
  EXPECT_EQ(fib->add({Ip4Address::from_host(n << 16 | 1), 32}, n), Status::kOk);
  EXPECT_EQ(fib->lookup(Ip4Address::from_host(1)), 7u);
}

TEST(Ip4Fib, APlyIsReusedOnlyAfterItsRelease) {
  std::vector<std::function<void()>> pending;
  auto fib = std::move(Ip4Fib::create([&](std::function<void()> r) { pending.push_back(r); },
                                      {.max_bytes = (256 << 10) + (8 << 10)}))
                 .value();
  // Add and delete until the plies run out, because none came back.
  int rounds = 0;
  while (rounds < 100 && fib->add(prefix("10.0.0.1/32"), 1) == Status::kOk) {
    ASSERT_EQ(fib->del(prefix("10.0.0.1/32")), Status::kOk);
    ++rounds;
  }
  EXPECT_GT(rounds, 0);
  EXPECT_LT(rounds, 100) << "plies were reused although none was released";
  EXPECT_EQ(pending.size(), 2u * static_cast<std::size_t>(rounds));
  for (auto& release : pending) release();
  EXPECT_EQ(fib->add(prefix("10.0.0.1/32"), 1), Status::kOk);
  // A release may also come after the table's end.
  pending.clear();
  ASSERT_EQ(fib->del(prefix("10.0.0.1/32")), Status::kOk);
  fib.reset();
  for (auto& release : pending) release();
}

TEST(Ip4Fib, ABatchIsLikeSingleLookups) {
  const auto fib = make();
  std::mt19937 rng(1);
  for (uint32_t i = 0; i < 500; ++i)
    ASSERT_EQ(fib->add({Ip4Address::from_host(rng()), static_cast<uint8_t>(8 + i % 25)}, i),
              Status::kOk);
  std::array<Ip4Address, 256> addresses;
  for (auto& a : addresses) a = Ip4Address::from_host(rng());
  std::array<uint32_t, 256> values;
  fib->lookup(addresses, values);
  for (std::size_t i = 0; i < addresses.size(); ++i)
    EXPECT_EQ(values[i], fib->lookup(addresses[i]));
}

}  // namespace
}  // namespace loom
