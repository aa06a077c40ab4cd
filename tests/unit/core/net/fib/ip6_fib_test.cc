// Ip6Fib: longest-prefix match over hashed prefixes.
#include "net/fib/ip6_fib.h"

#include <gtest/gtest.h>

#include <random>

#include "fib_model.h"

namespace loom {
namespace {

std::unique_ptr<Ip6Fib> make(Ip6FibOptions options = {.buckets = 64, .seed = 1}) {
  return std::move(Ip6Fib::create(options)).value();
}

TEST(Ip6Fib, AnEmptyTableHasNoRoute) {
  const auto fib = make();
  EXPECT_EQ(fib->lookup(ip6("::")), kNoIndex);
  EXPECT_EQ(fib->lookup(ip6("2001:db8::1")), kNoIndex);
}

TEST(Ip6Fib, TheLongestPrefixWins) {
  const auto fib = make();
  ASSERT_EQ(fib->add(prefix("::/0"), 0), Status::kOk);
  ASSERT_EQ(fib->add(prefix("2001:db8::/32"), 1), Status::kOk);
  ASSERT_EQ(fib->add(prefix("2001:db8:0:1::/64"), 2), Status::kOk);
  ASSERT_EQ(fib->add(prefix("2001:db8:0:1::8/125"), 3), Status::kOk);
  ASSERT_EQ(fib->add(prefix("2001:db8:0:1::9/128"), 4), Status::kOk);
  EXPECT_EQ(fib->lookup(ip6("fe80::1")), 0u);
  EXPECT_EQ(fib->lookup(ip6("2001:db8:0:2::1")), 1u);
  EXPECT_EQ(fib->lookup(ip6("2001:db8:0:1::1")), 2u);
  EXPECT_EQ(fib->lookup(ip6("2001:db8:0:1::f")), 3u);
  EXPECT_EQ(fib->lookup(ip6("2001:db8:0:1::9")), 4u);
  ASSERT_EQ(fib->del(prefix("2001:db8:0:1::9/128")), Status::kOk);
  EXPECT_EQ(fib->lookup(ip6("2001:db8:0:1::9")), 3u);
  ASSERT_EQ(fib->del(prefix("::/0")), Status::kOk);
  EXPECT_EQ(fib->lookup(ip6("fe80::1")), kNoIndex);
}

TEST(Ip6Fib, OneAddressCanHaveEveryLength) {
  const auto fib = make();
  const auto all_ones = ip6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  for (unsigned n = 0; n <= 128; ++n)
    ASSERT_EQ(fib->add({all_ones, static_cast<uint8_t>(n)}, n), Status::kOk);
  for (unsigned n = 128; n > 0; --n) {
    EXPECT_EQ(fib->lookup(all_ones), n);
    auto differs_at_n = all_ones;  // matches n - 1 bits only
    differs_at_n.bytes[(n - 1) / 8] ^= static_cast<uint8_t>(0x80 >> ((n - 1) % 8));
    EXPECT_EQ(fib->lookup(differs_at_n), n - 1);
    ASSERT_EQ(fib->del({all_ones, static_cast<uint8_t>(n)}), Status::kOk);
  }
  EXPECT_EQ(fib->lookup(all_ones), 0u);
}

TEST(Ip6Fib, RefusesWhatItCannotHold) {
  const auto fib = make();
  EXPECT_EQ(fib->add(prefix("10.0.0.0/8"), 1), Status::kInvalid);
  EXPECT_EQ(fib->add({ip6("::1"), 129}, 1), Status::kInvalid);
  EXPECT_EQ(fib->add(prefix("::/0"), kMaxFibValue + 1), Status::kInvalid);
  EXPECT_EQ(fib->del(prefix("::/0")), Status::kNotFound);
  EXPECT_FALSE(fib->find_exact(prefix("10.0.0.0/8")));
}

TEST(Ip6Fib, OutOfMemoryChangesNothing) {
  const auto fib = make({.buckets = 1024, .max_bytes = 32 << 10, .seed = 2});
  const auto route = [](uint8_t n) {
    auto a = ip6("2001:db8::");
    a.bytes[6] = n;
    return IpPrefix{a, 56};
  };
  uint8_t n = 0;
  while (n < 255 && fib->add(route(n), n) == Status::kOk) ++n;
  ASSERT_LT(n, 255);
  EXPECT_EQ(fib->lookup(route(n).address.ip6()), kNoIndex);
  EXPECT_EQ(fib->size(), n);
  for (uint8_t i = 0; i < n; ++i) EXPECT_EQ(fib->del(route(i)), Status::kOk);
  EXPECT_EQ(fib->add(route(n), n), Status::kOk);
  EXPECT_EQ(fib->lookup(route(n).address.ip6()), n);
}

TEST(Ip6Fib, AgreesWithAModelUnderRandomChanges) {
  for (const uint64_t seed : {1, 2, 3}) {
    std::mt19937_64 rng(seed);
    const auto fib = make();
    FibModel model;
    const std::array<Ip6Address, 4> bases = {ip6("2001:db8::"), ip6("2001:db8:0:ffff:ff00::"),
                                             ip6("::"), ip6("fe80::1")};
    const auto random_address = [&] {
      Ip6Address a = bases[rng() % bases.size()];
      for (std::size_t flips = rng() % 4; flips-- > 0;)
        a.bytes[rng() % 16] ^= static_cast<uint8_t>(1 << (rng() % 8));
      return a;
    };
    const uint8_t usual[] = {0, 32, 48, 56, 63, 64, 65, 127, 128};
    for (int i = 0; i < 3000; ++i) {
      const auto length = rng() % 4 ? usual[rng() % 9] : static_cast<uint8_t>(rng() % 129);
      auto p = without_host_bits({random_address(), length});
      if (rng() % 4 < ((i / 500) % 2 == 0 ? 3u : 1u)) {
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
      for (int j = 0; j < 4; ++j) {
        const Ip6Address a = j == 0 ? p.address.ip6() : random_address();
        ASSERT_EQ(fib->lookup(a), model.lookup(a)) << a.str() << " after " << p.str();
      }
      ASSERT_EQ(fib->size(), model.routes.size());
    }
    std::map<IpPrefix, uint32_t> seen;
    fib->for_each([&](const IpPrefix& p, uint32_t v) {
      EXPECT_TRUE(seen.empty() || seen.rbegin()->first < p) << "out of order";
      seen[p] = v;
    });
    EXPECT_EQ(seen, model.routes);
  }
}

}  // namespace
}  // namespace loom
