// RuleTable against a model that looks at every rule, and with readers beside the writer.
#include "session/rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <thread>
#include <tuple>

namespace loom::session {
namespace {

constexpr uint8_t kTcp = 6, kUdp = 17;

std::unique_ptr<RuleTable> make_table(FibDefer defer = [](std::function<void()> f) { f(); }) {
  return std::move(RuleTable::create(std::move(defer))).value();
}

RuleMatch match(const char* local, uint16_t local_port, const char* remote, uint16_t remote_port,
                uint8_t protocol = kTcp) {
  return {*IpPrefix::parse(local), *IpPrefix::parse(remote), local_port, remote_port, protocol};
}

FlowKey4 flow(const char* local, uint16_t local_port, const char* remote, uint16_t remote_port,
              uint8_t protocol = kTcp) {
  FlowKey4 k{};
  k.local = IpAddress::parse(local)->ip4();
  k.remote = IpAddress::parse(remote)->ip4();
  k.local_port = local_port;
  k.remote_port = remote_port;
  k.protocol = protocol;
  k.fib_index = 7;  // not the table's business
  return k;
}

TEST(RuleTable, AnEmptyOneHasNoRule) {
  const auto t = make_table();
  EXPECT_EQ(t->lookup(flow("10.0.0.1", 80, "10.0.0.2", 5000)), RuleTable::kNoRule);
  EXPECT_EQ(t->lookup(FlowKey6{}), RuleTable::kNoRule);
}

TEST(RuleTable, EveryFieldOfAMatchCounts) {
  const auto t = make_table();
  ASSERT_EQ(t->add(match("10.0.0.0/24", 80, "192.0.2.0/25", 5000), 1), Status::kOk);
  EXPECT_EQ(t->lookup(flow("10.0.0.1", 80, "192.0.2.127", 5000)), 1u);
  EXPECT_EQ(t->lookup(flow("10.0.1.1", 80, "192.0.2.127", 5000)), RuleTable::kNoRule);
  EXPECT_EQ(t->lookup(flow("10.0.0.1", 81, "192.0.2.127", 5000)), RuleTable::kNoRule);
  EXPECT_EQ(t->lookup(flow("10.0.0.1", 80, "192.0.2.128", 5000)), RuleTable::kNoRule);
  EXPECT_EQ(t->lookup(flow("10.0.0.1", 80, "192.0.2.127", 5001)), RuleTable::kNoRule);
  EXPECT_EQ(t->lookup(flow("10.0.0.1", 80, "192.0.2.127", 5000, kUdp)), RuleTable::kNoRule);
}

TEST(RuleTable, TheLongerRemotePrefixDecidesThenTheLocalOneThenThePorts) {
  const auto t = make_table();
  const auto f = flow("10.0.0.1", 80, "192.0.2.1", 5000);
  // From the weakest to the strongest; each is added on top of the ones before it.
  const RuleMatch by_strength[] = {
      match("0.0.0.0/0", 0, "0.0.0.0/0", 0),       match("0.0.0.0/0", 80, "0.0.0.0/0", 0),
      match("0.0.0.0/0", 0, "0.0.0.0/0", 5000),    match("0.0.0.0/0", 80, "0.0.0.0/0", 5000),
      match("10.0.0.1/32", 80, "0.0.0.0/0", 5000), match("0.0.0.0/0", 0, "192.0.0.0/8", 0),
      match("10.0.0.0/8", 0, "192.0.0.0/8", 0),    match("0.0.0.0/0", 0, "192.0.2.0/24", 0),
      match("0.0.0.0/0", 80, "192.0.2.1/32", 0)};
  for (uint64_t i = 0; i < std::size(by_strength); ++i) {
    ASSERT_EQ(t->add(by_strength[i], i), Status::kOk);
    EXPECT_EQ(t->lookup(f), i);
  }
  for (uint64_t i = std::size(by_strength); i-- > 0;) {
    EXPECT_EQ(t->lookup(f), i);
    ASSERT_EQ(t->del(by_strength[i]), Status::kOk);
  }
  EXPECT_EQ(t->lookup(f), RuleTable::kNoRule);
  EXPECT_EQ(t->masks(true), 0u);
}

TEST(RuleTable, AddingTheSameMatchReplacesItsValueWhateverItsHostBits) {
  const auto t = make_table();
  ASSERT_EQ(t->add(match("10.1.2.3/8", 0, "0.0.0.0/0", 0), 1), Status::kOk);
  ASSERT_EQ(t->add(match("10.9.9.9/8", 0, "1.2.3.4/0", 0), 2), Status::kOk);
  EXPECT_EQ(t->size(), 1u);
  EXPECT_EQ(t->find_exact(match("10.0.0.0/8", 0, "0.0.0.0/0", 0)), 2u);
  EXPECT_EQ(t->find_exact(match("10.0.0.0/9", 0, "0.0.0.0/0", 0)), std::nullopt);
  EXPECT_EQ(t->del(match("10.0.0.0/9", 0, "0.0.0.0/0", 0)), Status::kNotFound);
  EXPECT_EQ(t->del(match("11.0.0.0/8", 0, "0.0.0.0/0", 0)), Status::kNotFound);
  EXPECT_EQ(t->del(match("10.0.0.0/8", 0, "0.0.0.0/0", 0)), Status::kOk);
}

TEST(RuleTable, RefusesWhatNoFlowCanBe) {
  const auto t = make_table();
  EXPECT_EQ(t->add(match("10.0.0.0/8", 0, "2001:db8::/32", 0), 1), Status::kInvalid);
  RuleMatch m = match("10.0.0.0/8", 0, "0.0.0.0/0", 0);
  m.local.length = 33;
  EXPECT_EQ(t->add(m, 1), Status::kInvalid);
  EXPECT_EQ(t->del(m), Status::kNotFound);
  EXPECT_EQ(t->find_exact(m), std::nullopt);
  m = match("::/0", 0, "::/0", 0);
  m.remote.length = 129;
  EXPECT_EQ(t->add(m, 1), Status::kInvalid);
}

TEST(RuleTable, MasksAreBoundedAndTheirNumbersUsedAgain) {
  const auto t = make_table();
  const auto nth = [](uint32_t i) {  // no two have one mask
    RuleMatch m = match("10.0.0.0/8", 0, "192.0.2.1/32", 0);
    m.local.length = static_cast<uint8_t>(i % 32 + 1);
    m.remote.length = static_cast<uint8_t>(i / 32 + 1);
    return m;
  };
  for (int round = 0; round < 2; ++round) {
    for (uint32_t i = 0; i < RuleTable::kMaxMasks; ++i)
      ASSERT_EQ(t->add(nth(i), i), Status::kOk) << i;
    EXPECT_EQ(t->add(nth(RuleTable::kMaxMasks), 0), Status::kNoMemory);
    EXPECT_EQ(t->add(nth(3), 33), Status::kOk) << "a mask that is there";
    EXPECT_EQ(t->size(), RuleTable::kMaxMasks);
    EXPECT_EQ(t->add(match("::/0", 0, "::/0", 0), 1), Status::kOk) << "IPv6 has its own";
    ASSERT_EQ(t->del(match("::/0", 0, "::/0", 0)), Status::kOk);
    for (uint32_t i = 0; i < RuleTable::kMaxMasks; ++i) ASSERT_EQ(t->del(nth(i)), Status::kOk);
    EXPECT_EQ(t->masks(true), 0u);
  }
}

// --- The model

bool contains(const IpPrefix& p, const Ip6Address& bits) {
  for (unsigned i = 0; i < p.length; ++i) {
    const auto bit = static_cast<uint8_t>(0x80 >> i % 8);
    if ((p.address.bits.bytes[i / 8] ^ bits.bytes[i / 8]) & bit) return false;
  }
  return true;
}

struct Model {
  std::vector<std::pair<RuleMatch, uint64_t>> rules;  // normal

  auto find(const RuleMatch& m) {
    return std::find_if(rules.begin(), rules.end(), [&](const auto& r) {
      return r.first.local == m.local && r.first.remote == m.remote &&
             r.first.local_port == m.local_port && r.first.remote_port == m.remote_port &&
             r.first.protocol == m.protocol;
    });
  }
  uint64_t lookup(const Ip6Address& local, uint16_t local_port, const Ip6Address& remote,
                  uint16_t remote_port, uint8_t protocol) const {
    const std::pair<RuleMatch, uint64_t>* best = nullptr;
    const auto strength = [](const RuleMatch& m) {
      return std::tuple(m.remote.length, m.local.length, m.remote_port != 0, m.local_port != 0);
    };
    for (const auto& r : rules) {
      const RuleMatch& m = r.first;
      if (m.protocol != protocol || !contains(m.local, local) || !contains(m.remote, remote) ||
          (m.local_port && m.local_port != local_port) ||
          (m.remote_port && m.remote_port != remote_port))
        continue;
      if (!best || strength(m) > strength(best->first)) best = &r;
    }
    return best ? best->second : RuleTable::kNoRule;
  }
};

// Few bits vary, so that rules overlap and flows match.
template <class Key>
class Random {
 public:
  explicit Random(uint32_t seed) : rng_(seed) {}
  auto address() {
    decltype(Key{}.local) a;
    for (auto& byte : a.bytes) byte = static_cast<uint8_t>(rng_() % 4 * 0x55);
    for (std::size_t i = 0; i + 2 < a.bytes.size(); ++i) a.bytes[i] = 0x20;
    a.bytes[1] = static_cast<uint8_t>(rng_() % 2);
    return a;
  }
  uint8_t length() {
    constexpr unsigned kBits = sizeof(decltype(Key{}.local)) * 8;
    constexpr unsigned kLengths[] = {0, 8, 16, kBits - 12, kBits - 8, kBits - 1, kBits};
    return static_cast<uint8_t>(kLengths[rng_() % std::size(kLengths)]);
  }
  uint16_t port() { return static_cast<uint16_t>(1 + rng_() % 3); }
  uint8_t protocol() { return rng_() % 4 ? kTcp : kUdp; }
  RuleMatch match() {
    RuleMatch m{{address(), length()}, {address(), length()}, 0, 0, protocol()};
    // Half of all combinations, within what masks are allowed.
    if (m.remote.length % 2 == 0 && rng_() % 2) m.local_port = port();
    if (m.local.length % 16 == 0 && rng_() % 4 == 0) m.remote_port = port();
    return m;
  }
  Key flow() {
    Key k{};
    k.local = address();
    k.remote = address();
    k.local_port = port();
    k.remote_port = port();
    k.protocol = protocol();
    return k;
  }
  uint32_t operator()() { return rng_(); }

 private:
  std::mt19937 rng_;
};

template <class Key>
void compare_with_model(uint32_t seed) {
  Random<Key> random(seed);
  const auto t = make_table();
  Model model;
  uint32_t found = 0, refused = 0;
  for (uint64_t step = 0; step < 1500; ++step) {
    const RuleMatch m = random.match();
    const RuleMatch normal = RuleTable::normal(m);
    const auto known = model.find(normal);
    if (random() % 3 != 0) {
      const Status s = t->add(m, step);
      if (s == Status::kOk && known == model.rules.end())
        model.rules.emplace_back(normal, step);
      else if (s == Status::kOk)
        known->second = step;
      else
        ++refused;
    } else if (!model.rules.empty() && random() % 2 == 0) {
      const auto at = model.rules.begin() + random() % model.rules.size();
      ASSERT_EQ(t->del(at->first), Status::kOk);
      model.rules.erase(at);
    } else {
      ASSERT_EQ(t->del(m), known == model.rules.end() ? Status::kNotFound : Status::kOk);
      if (known != model.rules.end()) model.rules.erase(known);
    }
    ASSERT_EQ(t->size(), model.rules.size());
    for (int i = 0; i < 10; ++i) {
      const Key f = random.flow();
      const IpAddress local(f.local), remote(f.remote);
      const uint64_t expected =
          model.lookup(local.bits, f.local_port, remote.bits, f.remote_port, f.protocol);
      ASSERT_EQ(t->lookup(f), expected) << "step " << step << " seed " << seed;
      found += expected != RuleTable::kNoRule;
    }
  }
  EXPECT_GT(found, 4'000u) << "flows that matched a rule";
  EXPECT_LT(found, 14'900u) << "and some that did not";
  EXPECT_LT(refused, 750u) << "for want of masks";
}

TEST(RuleTable, IsAsItsModelSaysWithRandomRules) {
  for (uint32_t seed = 1; seed <= 2; ++seed) {
    compare_with_model<FlowKey4>(seed);
    compare_with_model<FlowKey6>(seed);
  }
}

// --- Threads

// A grace period by hand: what was deferred is freed once every reader has passed a quiet point.
struct Grace {
  std::atomic<uint64_t> epoch{0};
  std::vector<std::atomic<uint64_t>> seen;
  std::deque<std::pair<uint64_t, std::function<void()>>> waiting;
  explicit Grace(std::size_t n) : seen(n) {}
  FibDefer defer() {
    return [this](std::function<void()> f) {
      waiting.emplace_back(epoch.fetch_add(1) + 1, std::move(f));
    };
  }
  void quiet(std::size_t reader) { seen[reader].store(epoch.load()); }
  void reclaim() {
    uint64_t least = ~0ull;
    for (const auto& s : seen) least = std::min(least, s.load());
    while (!waiting.empty() && waiting.front().first <= least) {
      waiting.front().second();
      waiting.pop_front();
    }
  }
};

// The writer replaces one rule by another that decides the same flows, the new one first: a reader
// always finds one of them, and a rule below both never.
TEST(RuleTableThreads, AReaderSeesTheTableBeforeOrAfterAChange) {
  constexpr std::size_t kReaders = 2;
  Grace grace(kReaders);
  {
    const auto t = make_table(grace.defer());
    ASSERT_EQ(t->add(match("0.0.0.0/0", 0, "0.0.0.0/0", 0), 99), Status::kOk);
    const RuleMatch flipping[] = {match("0.0.0.0/0", 0, "192.0.2.0/24", 0),
                                  match("0.0.0.0/0", 80, "192.0.2.0/25", 0),
                                  match("10.0.0.0/8", 0, "192.0.0.0/8", 0)};
    ASSERT_EQ(t->add(flipping[0], 0), Status::kOk);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> lookups{0}, wrong{0};
    std::vector<std::thread> readers;
    for (std::size_t r = 0; r < kReaders; ++r)
      readers.emplace_back([&, r] {
        const auto f = flow("10.0.0.1", 80, "192.0.2.1", 5000);
        while (!stop.load(std::memory_order_relaxed)) {
          for (int i = 0; i < 100; ++i) {
            const uint64_t v = t->lookup(f);
            if (v >= std::size(flipping)) wrong.fetch_add(1);
          }
          lookups.fetch_add(100, std::memory_order_relaxed);
          grace.quiet(r);
        }
        grace.seen[r].store(~0ull);
      });
    std::size_t now = 0;
    for (int step = 0; step < 20'000 || lookups.load() < 20'000; ++step) {
      const std::size_t next = (now + 1) % std::size(flipping);
      EXPECT_EQ(t->add(flipping[next], next), Status::kOk);
      EXPECT_EQ(t->del(flipping[now]), Status::kOk);
      now = next;
      grace.reclaim();
    }
    stop = true;
    for (auto& r : readers) r.join();
    EXPECT_EQ(wrong.load(), 0u);
  }
  grace.reclaim();
  EXPECT_TRUE(grace.waiting.empty());
}

}  // namespace
}  // namespace loom::session
