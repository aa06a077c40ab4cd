// DenyList against a model that looks at every entry, and with readers beside the writer.
#include "session/sdl.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <thread>

namespace loom::session {
namespace {

std::unique_ptr<DenyList> make_list() {
  return std::move(DenyList::create([](std::function<void()> f) { f(); })).value();
}

DenyEntry entry(const char* prefix, uint32_t action = kActionDrop, std::string tag = {}) {
  return {*IpPrefix::parse(prefix), action, std::move(tag)};
}
Result<void> add(DenyList& l, const DenyEntry& e) { return l.add({&e, 1}); }
Result<void> del(DenyList& l, const char* prefix) {
  const IpPrefix p = *IpPrefix::parse(prefix);
  return l.del({&p, 1});
}
bool denies(const DenyList& l, const char* text) {
  const auto a = *IpAddress::parse(text);
  return a.is_ip4 ? l.denies(a.ip4()) : l.denies(a.ip6());
}

TEST(DenyList, DeniesThePrefixAndNothingElse) {
  const auto l = make_list();
  EXPECT_FALSE(denies(*l, "10.0.0.1"));
  EXPECT_FALSE(denies(*l, "2001:db8::1"));
  for (const auto& [prefix, inside, outside] :
       {std::tuple{"10.1.2.0/24", "10.1.2.255", "10.1.3.0"},
        {"10.1.255.255/32", "10.1.255.255", "10.1.255.254"},
        {"172.16.0.0/12", "172.31.255.255", "172.32.0.0"},
        {"192.168.0.0/16", "192.168.0.0", "192.167.255.255"},
        {"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"},
        {"fe80::1/128", "fe80::1", "fe80::2"}}) {
    ASSERT_TRUE(add(*l, entry(prefix)));
    EXPECT_TRUE(denies(*l, inside)) << prefix;
    EXPECT_FALSE(denies(*l, outside)) << prefix;
    ASSERT_TRUE(del(*l, prefix));
    EXPECT_FALSE(denies(*l, inside)) << prefix;
  }
  EXPECT_EQ(l->size(), 0u);
  EXPECT_EQ(l->leaf_bytes(), 0u);
}

TEST(DenyList, TheSourcesOfATagGoTogether) {
  const auto l = make_list();
  const DenyEntry all[] = {
      entry("10.0.0.0/8", kActionDrop, "a"),   entry("10.1.2.3/32", kActionAllow, "a"),
      entry("11.0.0.0/8", kActionDrop, "b"),   entry("12.0.0.0/8"),
      entry("12.1.2.3/32", kActionDrop, "a"),  entry("2001:db8::/32", kActionDrop, "a"),
      entry("2001:db9::/32", kActionDrop, "b")};
  ASSERT_TRUE(l->add(all));
  EXPECT_EQ(l->del_tag("c", true), 0u);
  EXPECT_EQ(l->del_tag("a", true), 3u);
  EXPECT_FALSE(denies(*l, "10.0.0.1"));
  EXPECT_TRUE(denies(*l, "11.0.0.1"));
  EXPECT_TRUE(denies(*l, "12.1.2.3")) << "by the shorter one";
  EXPECT_TRUE(denies(*l, "2001:db8::1")) << "of the other version";
  EXPECT_EQ(l->size(), 4u);
  EXPECT_EQ(l->del_tag("a", true), 0u);
  EXPECT_EQ(l->del_tag("a", false), 1u);
  EXPECT_FALSE(denies(*l, "2001:db8::1"));
  EXPECT_EQ(l->del_tag("a", false), 0u);
  // What has none is a tag like others, here.
  EXPECT_EQ(l->del_tag("", true), 1u);
  EXPECT_EQ(l->del_tag("b", true) + l->del_tag("b", false), 2u);
  EXPECT_EQ(l->size(), 0u);
  EXPECT_EQ(l->leaf_bytes(), 0u);
}

TEST(DenyList, ALongerPrefixThatAllowsIsAnException) {
  const auto l = make_list();
  for (const auto& [outer, inner, innermost] :
       {std::tuple{"0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32"},
        {"::/0", "2001:db8::/32", "2001:db8::1/128"}}) {
    ASSERT_TRUE(add(*l, entry(outer)));
    ASSERT_TRUE(add(*l, entry(inner, kActionAllow)));
    ASSERT_TRUE(add(*l, entry(innermost, 7)));
  }
  EXPECT_TRUE(denies(*l, "11.0.0.1"));
  EXPECT_FALSE(denies(*l, "10.1.2.4"));
  EXPECT_TRUE(denies(*l, "10.1.2.3")) << "any other action denies";
  EXPECT_TRUE(denies(*l, "2001:db9::"));
  EXPECT_FALSE(denies(*l, "2001:db8::2"));
  EXPECT_TRUE(denies(*l, "2001:db8::1"));
  EXPECT_EQ(l->find(*IpAddress::parse("10.1.2.3"))->action, 7u);
  EXPECT_EQ(l->find(*IpAddress::parse("10.1.2.4"))->prefix.str(), "10.0.0.0/8");
  EXPECT_EQ(l->find(*IpAddress::parse("9.0.0.0"))->prefix.str(), "0.0.0.0/0");
  ASSERT_TRUE(del(*l, "10.0.0.0/8"));
  EXPECT_TRUE(denies(*l, "10.1.2.4"));
  ASSERT_TRUE(del(*l, "0.0.0.0/0"));
  EXPECT_FALSE(denies(*l, "10.1.2.4"));
  EXPECT_FALSE(l->find(*IpAddress::parse("10.1.2.4")));
}

TEST(DenyList, ACallThatFailsChangesNothing) {
  const auto l = make_list();
  ASSERT_TRUE(add(*l, entry("10.0.0.0/8", kActionDrop, "old")));
  const DenyEntry twice[] = {entry("1.0.0.0/8"), entry("2.2.2.2/32"), entry("2001:db8::/32"),
                             entry("10.3.4.5/8")};
  const auto added = l->add(twice);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, Status::kExists);
  EXPECT_NE(added.error().message.find("10.3.4.5/8"), std::string::npos) << added.error().message;
  DenyEntry bad[] = {entry("1.0.0.0/8"), entry("2.2.2.2/32")};
  bad[1].prefix.length = 33;
  EXPECT_EQ(l->add(bad).error().code, Status::kInvalid);
  const DenyEntry same[] = {entry("3.0.0.0/8"), entry("3.0.0.0/8")};
  EXPECT_EQ(l->add(same).error().code, Status::kExists);
  const IpPrefix some[] = {*IpPrefix::parse("10.0.0.0/8"), *IpPrefix::parse("11.0.0.0/8")};
  EXPECT_EQ(l->del(some).error().code, Status::kNotFound);
  const IpPrefix repeated[] = {some[0], some[0]};
  EXPECT_EQ(l->del(repeated).error().code, Status::kNotFound);
  EXPECT_EQ(l->size(), 1u);
  EXPECT_TRUE(denies(*l, "10.0.0.1"));
  for (const char* a : {"1.0.0.1", "2.2.2.2", "3.0.0.1", "2001:db8::"}) EXPECT_FALSE(denies(*l, a));
  EXPECT_EQ(l->next(std::nullopt)->tag, "old");
}

TEST(DenyList, AWalkIsInOrderAndSurvivesChanges) {
  const auto l = make_list();
  const DenyEntry all[] = {entry("2001:db8::/48"), entry("10.0.0.0/9"),    entry("10.0.0.0/8"),
                           entry("9.9.9.9/32"),    entry("2001:db8::/32"), entry("11.0.0.0/8")};
  ASSERT_TRUE(l->add(all));
  std::string seen;
  std::optional<IpPrefix> last;
  while (const auto e = l->next(last)) {
    seen += e->prefix.str() + " ";
    last = e->prefix;
    if (e->prefix.str() == "10.0.0.0/8") {
      ASSERT_TRUE(del(*l, "10.0.0.0/8"));  // the one we stand on
      ASSERT_TRUE(del(*l, "11.0.0.0/8"));
      ASSERT_TRUE(add(*l, entry("1.0.0.0/8")));  // behind us
    }
  }
  EXPECT_EQ(seen, "9.9.9.9/32 10.0.0.0/8 10.0.0.0/9 2001:db8::/32 2001:db8::/48 ");
}

// --- The model

struct Random {
  std::mt19937 rng;
  // In few slots, so that prefixes contain each other; lengths around the slot's 16 bits.
  IpPrefix prefix(bool ip4) {
    IpPrefix p;
    if (ip4) {
      p.address = Ip4Address::from_host((rng() % 3) << 16 | (rng() % 64) << 10 | rng() % 8);
      constexpr uint8_t kLengths[] = {0, 8, 14, 15, 16, 17, 20, 24, 29, 31, 32};
      p.length = kLengths[rng() % std::size(kLengths)];
    } else {
      Ip6Address a;
      a.bytes[0] = static_cast<uint8_t>(rng() % 3);
      a.bytes[8] = static_cast<uint8_t>(rng() % 3 << 6);
      a.bytes[15] = static_cast<uint8_t>(rng() % 3);
      p.address = a;
      constexpr uint8_t kLengths[] = {0, 7, 8, 64, 65, 66, 127, 128};
      p.length = kLengths[rng() % std::size(kLengths)];
    }
    return p;
  }
};

IpPrefix normal(IpPrefix p) {
  for (unsigned i = p.length; i < (p.address.is_ip4 ? 32u : 128u); ++i)
    p.address.bits.bytes[i / 8] &= static_cast<uint8_t>(~(0x80 >> i % 8));
  return p;
}

TEST(DenyList, IsAsItsModelSaysWithRandomPrefixes) {
  Random random{std::mt19937(7)};
  auto& rng = random.rng;
  const auto l = make_list();
  std::map<IpPrefix, uint32_t> model;
  uint32_t denied = 0, allowed = 0;
  for (int step = 0; step < 4000; ++step) {
    const bool adding = model.size() < 30 || rng() % 2;
    std::vector<DenyEntry> fresh;
    std::vector<IpPrefix> old;
    for (uint32_t i = rng() % 5; i > 0; --i) {
      const IpPrefix p = random.prefix(rng() % 2);
      const uint32_t action = rng() % 3 ? kActionDrop : kActionAllow;
      if (adding && model.emplace(normal(p), action).second) {
        fresh.push_back({p, action, "t" + std::to_string(rng() % 4)});
      } else if (!adding) {
        old.push_back(std::next(model.begin(), rng() % model.size())->first);
        model.erase(old.back());
      }
    }
    ASSERT_TRUE(l->add(fresh));
    ASSERT_TRUE(l->del(old));
    ASSERT_EQ(l->size(), model.size());
    for (int i = 0; i < 10; ++i) {
      const IpAddress a = random.prefix(i % 2).address;
      bool expected = false;
      for (int length = a.is_ip4 ? 32 : 128; length >= 0; --length) {
        const auto it = model.find(normal({a, static_cast<uint8_t>(length)}));
        if (it == model.end()) continue;
        expected = it->second != kActionAllow;
        break;
      }
      ASSERT_EQ(a.is_ip4 ? l->denies(a.ip4()) : l->denies(a.ip6()), expected)
          << a.str() << " step " << step;
      ++(expected ? denied : allowed);
    }
  }
  EXPECT_GT(denied, 5000u);
  EXPECT_GT(allowed, 5000u);
  std::vector<IpPrefix> rest;
  for (const auto& [p, action] : model) rest.push_back(p);
  ASSERT_TRUE(l->del(rest));
  EXPECT_EQ(l->leaf_bytes(), 0u);
  EXPECT_FALSE(l->next(std::nullopt));
}

// What makes IPv4 affordable: a million hosts that no two have a /24 in common.
TEST(DenyList, ScatteredHostsCostNoMoreThanTheyNeed) {
  constexpr uint32_t kHosts = 1'000'000;
  const auto l = make_list();
  std::vector<DenyEntry> batch;
  for (uint32_t i = 0; i < kHosts; ++i)
    batch.push_back({{Ip4Address::from_host(i * 40'503u + 1), 32}, kActionDrop, {}});
  ASSERT_TRUE(l->add(batch));
  EXPECT_LE(l->leaf_bytes(), kHosts * 2 * 6 + 65'536 * 16ull);
  for (uint32_t i = 0; i < kHosts; i += 97) {
    ASSERT_TRUE(l->denies(Ip4Address::from_host(i * 40'503u + 1)));
    ASSERT_FALSE(l->denies(Ip4Address::from_host(i * 40'503u + 2)));
  }
}

// --- Threads

// One half of each pair of prefixes is there at any time, the new one first: an address in both is
// always denied, and one beside them never is.
TEST(DenyListThreads, AReaderSeesAnAddressBeforeOrAfterAChange) {
  // Readers stop before anything that they may look at is freed.
  std::vector<std::function<void()>> kept;
  {
    auto made = DenyList::create([&](std::function<void()> f) { kept.push_back(std::move(f)); });
    const auto l = std::move(made).value();
    ASSERT_TRUE(add(*l, entry("10.1.2.0/24")));
    ASSERT_TRUE(add(*l, entry("2001:db8::/32")));
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> lookups{0}, wrong{0};
    std::vector<std::thread> readers;
    for (int r = 0; r < 2; ++r)
      readers.emplace_back([&] {
        const auto in4 = IpAddress::parse("10.1.2.3")->ip4(),
                   out4 = IpAddress::parse("10.1.3.1")->ip4();
        const auto in6 = IpAddress::parse("2001:db8::1")->ip6(),
                   out6 = IpAddress::parse("fe80::1")->ip6();
        while (!stop.load(std::memory_order_relaxed)) {
          if (!l->denies(in4) || l->denies(out4) || !l->denies(in6) || l->denies(out6))
            wrong.fetch_add(1);
          lookups.fetch_add(1, std::memory_order_relaxed);
        }
      });
    for (int step = 0; step < 3000 || lookups.load() < 5000; ++step) {
      const bool even = step % 2 == 0;
      EXPECT_TRUE(add(*l, entry(even ? "10.1.2.3/32" : "10.1.2.0/24")));
      EXPECT_TRUE(del(*l, even ? "10.1.2.0/24" : "10.1.2.3/32"));
      EXPECT_TRUE(add(*l, entry(even ? "2001:db8::/64" : "2001:db8::/32")));
      EXPECT_TRUE(del(*l, even ? "2001:db8::/32" : "2001:db8::/64"));
    }
    stop = true;
    for (auto& r : readers) r.join();
    EXPECT_EQ(wrong.load(), 0u);
  }
}

}  // namespace
}  // namespace loom::session
