// Both route tables with real threads: workers look up while the control thread changes routes. Run
// under the thread sanitizer as well.
#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "fib_model.h"
#include "net/fib/ip4_fib.h"
#include "net/fib/ip6_fib.h"

namespace loom {
namespace {

// Worker threads that look up in rounds. At a round's end a worker is in no lookup; synchronize()
// waits until each has ended one that began after the call, as the daemon does with its workers'
// loops.
class Workers {
 public:
  template <class Round>
  Workers(std::size_t n, Round round) : rounds_(n) {
    for (auto& mine : rounds_)
      threads_.emplace_back([this, &mine, round] {
        while (!stop_.load(std::memory_order_relaxed)) {
          for (int k = 0; k < 64; ++k) round();
          mine.fetch_add(1, std::memory_order_release);
          std::this_thread::yield();  // more threads than processors must not make us wait long
        }
      });
  }
  ~Workers() {
    stop_ = true;
    for (auto& t : threads_) t.join();
  }
  void synchronize() {
    for (auto& r : rounds_) {
      const uint64_t then = r.load(std::memory_order_acquire);
      while (r.load(std::memory_order_acquire) < then + 2) std::this_thread::yield();
    }
  }

 private:
  std::vector<std::atomic<uint64_t>> rounds_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

// One address is always covered, by one prefix after the other of `chain`: the new route is added
// first, then the old one deleted. Values are indices into the chain; `after_change` is where plies
// can be released.
template <class Fib, class AfterChange>
void replace_in_a_circle(Fib& fib, const std::vector<IpPrefix>& chain, int rounds,
                         AfterChange after_change) {
  for (int r = 0; r < rounds; ++r)
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const std::size_t next = (i + 1) % chain.size();
      ASSERT_EQ(fib.add(chain[next], static_cast<uint32_t>(next)), Status::kOk);
      ASSERT_EQ(fib.del(chain[i]), Status::kOk);
      after_change();
    }
}

struct Seen {
  std::atomic<uint64_t> lookups{0}, gaps{0}, strangers{0};
  void count(uint32_t value, std::size_t n_values) {
    lookups.fetch_add(1, std::memory_order_relaxed);
    if (value == kNoIndex)
      gaps.fetch_add(1, std::memory_order_relaxed);
    else if (value >= n_values)
      strangers.fetch_add(1, std::memory_order_relaxed);
  }
  void expect_clean() const {
    EXPECT_GT(lookups.load(), 0u);
    EXPECT_EQ(gaps.load(), 0u) << "an address was without a route for a moment";
    EXPECT_EQ(strangers.load(), 0u) << "a value of another address";
  }
};

TEST(FibThreads, Ip4ReplacingARouteLeavesNoGap) {
  // Plies come and go at both levels. The neighbours below use the same plies' memory when it is
  // recycled, with values that no lookup of our address may see.
  const std::vector<IpPrefix> chain = {prefix("10.1.2.3/32"), prefix("10.1.2.0/25"),
                                       prefix("10.1.0.0/20"), prefix("10.0.0.0/8"),
                                       prefix("10.0.0.0/12"), prefix("10.1.2.0/24")};
  std::vector<std::function<void()>> pending;
  const auto fib = std::move(Ip4Fib::create([&](std::function<void()> release) {
                     pending.push_back(std::move(release));
                   })).value();
  ASSERT_EQ(fib->add(chain[0], 0), Status::kOk);
  Seen seen;
  {
    Workers workers(2, [&] { seen.count(fib->lookup(ip4("10.1.2.3")), chain.size()); });
    uint32_t n = 0;
    replace_in_a_circle(*fib, chain, 8000, [&] {
      const IpPrefix neighbour{Ip4Address::from_host(0x0b000000 + (++n << 8)), 32};
      ASSERT_EQ(fib->add(neighbour, 1000), Status::kOk);
      if (n > 3) {
        ASSERT_EQ(fib->del({Ip4Address::from_host(0x0b000000 + ((n - 3) << 8)), 32}), Status::kOk);
      }
      if (pending.size() < 256) return;
      workers.synchronize();
      for (auto& release : pending) release();
      pending.clear();
    });
  }
  seen.expect_clean();
  EXPECT_LE(fib->plies(), 8u);
}

TEST(FibThreads, Ip6ReplacingARouteLeavesNoGap) {
  const std::vector<IpPrefix> chain = {prefix("2001:db8::1/128"), prefix("2001:db8::/64"),
                                       prefix("2001:db8::/32"),   prefix("::/0"),
                                       prefix("2001:db8::/48"),   prefix("2001:db8::/127")};
  const auto fib = std::move(Ip6Fib::create({.buckets = 1, .seed = 3})).value();
  ASSERT_EQ(fib->add(chain[0], 0), Status::kOk);
  Seen seen;
  {
    Workers workers(2, [&] { seen.count(fib->lookup(ip6("2001:db8::1")), chain.size()); });
    uint32_t n = 0;
    replace_in_a_circle(*fib, chain, 20'000, [&] {
      const auto other = prefix(++n % 2 ? "2001:db9::/48" : "2001:db8::2/128");
      ASSERT_EQ(fib->add(other, 1000), Status::kOk);
      ASSERT_EQ(fib->del(other), Status::kOk);
    });
  }
  seen.expect_clean();
}

}  // namespace
}  // namespace loom
