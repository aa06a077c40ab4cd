// Slots whose pages the control thread fetches and gives back: nothing that is in use is lost, what
// is needed next is there before it is needed, what many have left goes back, and the pool may go
// at any time.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <hostloom/slots.h>

namespace loom {
namespace {

struct Thing {
  uint32_t link = 0;
  uint32_t tag = 0;
  uint64_t rest[31] = {};
};
constexpr uint32_t kPerBlock = 64;
using Things = SlotBlocks<Thing, &Thing::link, kPerBlock>;
constexpr uint32_t kBlockBytes = sizeof(Thing) * kPerBlock;
constexpr uint32_t kPerExtent = PageKeeper::kExtent / kBlockBytes * kPerBlock;  // slots

// A worker whose control thread does what it is asked when it is told to, and whose timers fire
// when they are told to.
class Bench {
 public:
  Bench() {
    worker_.now = kSecond;
    ops_.timer_start = [](Worker& w, Timer& t, TimeNs deadline) noexcept {
      of(w).deadline_ = deadline;
      t.next = t.prev = &t;
      of(w).timer_ = &t;
    };
    ops_.timer_stop = [](Worker& w, Timer& t) noexcept {
      t.next = t.prev = nullptr;
      if (of(w).timer_ == &t) of(w).timer_ = nullptr;
    };
    ops_.post_to_control = [](Worker& w, void (*fn)(void*), void* arg) noexcept {
      const std::scoped_lock hold(of(w).lock_);
      of(w).posted_.emplace_back(fn, arg);
    };
    worker_.ops = &ops_;
    worker_.impl = this;
  }
  ~Bench() {
    while (control())
      ;
  }

  Worker& worker() { return worker_; }
  // The oldest of what it was asked. False: there is none.
  bool control() {
    std::pair<void (*)(void*), void*> next;
    {
      const std::scoped_lock hold(lock_);
      if (posted_.empty()) return false;
      next = posted_.front();
      posted_.pop_front();
    }
    next.first(next.second);
    return true;
  }
  bool fire() {
    if (!timer_) return false;
    worker_.now = std::max(worker_.now, deadline_);
    Timer& t = *std::exchange(timer_, nullptr);
    t.next = t.prev = nullptr;
    t.fired(worker_, t);
    return true;
  }
  bool has_timer() const { return timer_ != nullptr; }
  // Until there is nothing left to do.
  void rest() {
    do
      while (control())
        ;
    while (fire());
  }

 private:
  static Bench& of(Worker& w) { return *static_cast<Bench*>(w.impl); }

  WorkerOps ops_{};
  Worker worker_;
  Timer* timer_ = nullptr;
  TimeNs deadline_ = 0;
  std::mutex lock_;  // of what follows
  std::deque<std::pair<void (*)(void*), void*>> posted_;
};

bool is_resident(const void* p) {
  unsigned char answer = 0;
  const auto page = reinterpret_cast<uintptr_t>(p) & ~uintptr_t{4095};
  EXPECT_EQ(mincore(reinterpret_cast<void*>(page), 4096, &answer), 0);
  return answer & 1;
}
std::size_t resident_blocks(const Things& things) {
  std::size_t n = 0;
  for (uint32_t i = 0; i < things.end(); i += kPerBlock) n += is_resident(&things.at(i));
  return n;
}

std::vector<uint32_t> take(Things& things, uint32_t n) {
  std::vector<uint32_t> all;
  for (uint32_t i = 0; i < n; ++i) {
    all.push_back(things.take());
    EXPECT_NE(all.back(), Things::kNone);
    things.at(all.back()).tag = i;
  }
  return all;
}

TEST(Slots, TheNextExtentHasItsPagesBeforeItIsNeeded) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  take(things, 2 * kPerExtent);  // what has small pages
  for (int extent = 0; extent < 3; ++extent) {
    while (bench.control())
      ;
    const uint32_t first = things.take();
    EXPECT_TRUE(is_resident(&things.at(first + kPerExtent - 1))) << "extent " << extent;
    take(things, kPerExtent - 1);
  }
}

TEST(Slots, WhatIsNotFetchedInTimeCostsSmallPages) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  take(things, 2 * kPerExtent);
  const auto is_small = [&] {  // the first slot brings its own page alone
    const uint32_t first = take(things, 1)[0];
    EXPECT_FALSE(is_resident(&things.at(first + kPerExtent - 1)));
    EXPECT_FALSE(is_resident(&things.at(first + kPerBlock)));
    take(things, kPerExtent - 1);
    return first;
  };
  is_small();  // new ones
  const uint32_t more[] = {is_small(), is_small()};
  for (const uint32_t first : more)
    for (uint32_t i = first; i < first + kPerExtent; ++i) things.give(i);
  bench.rest();
  take(things, kPerExtent);  // what was fetched
  is_small();                // one that had gone back
}

// Of the process, in pages: addresses, and those with memory.
std::pair<std::size_t, std::size_t> statm() {
  std::size_t size = 0, pages = 0;
  if (FILE* f = std::fopen("/proc/self/statm", "r")) {
    EXPECT_EQ(std::fscanf(f, "%zu %zu", &size, &pages), 2);
    std::fclose(f);
  }
  return {size, pages};
}

TEST(Slots, WhatWasFetchedGoesBackWhenNothingGrows) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  take(things, 4 * kPerExtent);
  bench.rest();
  const std::size_t before = statm().second;
  int asked = 0;
  for (const uint32_t blocks : {1, 3}) {  // an extent is begun, and is plenty for a while
    for (uint32_t i = 0; i < blocks; ++i) {
      take(things, kPerBlock);
      while (bench.control()) ++asked;
    }
    EXPECT_GT(asked, 0);
    bench.rest();
    EXPECT_LT(statm().second, before + 512 + 256);
    EXPECT_FALSE(bench.has_timer());
  }
}

TEST(Slots, WhatWasFetchedGoesWithThePool) {
  Bench bench;
  std::size_t before = 0;
  for (int turn = 0; turn < 5; ++turn) {
    {
      Things things;
      things.use(bench.worker());
      const auto all = take(things, 4 * kPerExtent + kPerBlock);
      while (bench.control())
        ;
      for (const uint32_t i : all) things.give(i);
      for (int n = 0; n < turn; ++n) {
        if (n != 0)
          while (bench.control())
            ;
        bench.fire();
      }
    }
    while (bench.control())
      ;
    if (turn == 0) before = statm().first;
    EXPECT_LT(statm().first, before + 512) << "in turn " << turn;
  }
}

TEST(Slots, WhenItGrowsAgainOneExtentIsFilledBeforeTheNext) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  for (const uint32_t i : take(things, 8 * kPerExtent)) things.give(i);
  bench.rest();
  take(things, 2 * kPerExtent);
  for (int block = 0; block < 30; ++block) {
    take(things, kPerBlock);
    while (bench.control())
      ;
  }
  EXPECT_LE(resident_blocks(things), (2 + 1 + 2) * kPerExtent / kPerBlock);
}

TEST(Slots, WhatIsReservedStaysWhateverComesAndGoes) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  ASSERT_TRUE(things.reserve(6 * kPerExtent, true));
  const std::size_t all = resident_blocks(things);
  for (int turn = 0; turn < 3; ++turn) {
    const auto some = take(things, 3 * kPerExtent + 7 * kPerBlock);
    bench.rest();
    EXPECT_EQ(resident_blocks(things), all);
    for (const uint32_t i : some) things.give(i);
    bench.rest();
    EXPECT_EQ(resident_blocks(things), all);
  }
  EXPECT_EQ(things.end(), all * kPerBlock);
}

TEST(Slots, OneThatComesAndGoesKeepsItsPages) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  take(things, 2 * kPerExtent);
  const uint32_t first = things.take();
  for (int turn = 0; turn < 10; ++turn) {
    things.give(first);
    bench.fire();
    while (bench.control())
      ;
    EXPECT_TRUE(is_resident(&things.at(first)));
    EXPECT_EQ(things.take(), first);
  }
}

TEST(Slots, WhatLiesColdIsFetchedBeforeItIsNeeded) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  for (const uint32_t i : take(things, 5 * kPerExtent)) things.give(i);
  bench.rest();
  EXPECT_LT(resident_blocks(things), 10u);
  const uint32_t end = things.end();
  take(things, 2 * kPerExtent);
  while (bench.control())
    ;
  const uint32_t next = things.take();
  EXPECT_TRUE(is_resident(&things.at(next / kPerBlock * kPerBlock + kPerExtent / 2)));
  EXPECT_EQ(things.end(), end) << "it did not grow instead";
}

TEST(Slots, FewKeepNothingThatManyNeeded) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  for (int turn = 0; turn < 3; ++turn) {
    const auto all = take(things, 6 * kPerExtent);
    bench.rest();
    std::vector<uint32_t> kept;
    for (const uint32_t i : all) {
      if (i % (50 * kPerBlock) == 3)
        kept.push_back(i);
      else
        things.give(i);
    }
    bench.rest();
    EXPECT_LE(resident_blocks(things), kept.size() + 4);
    for (const uint32_t i : kept) {
      EXPECT_EQ(things.at(i).tag, std::ranges::find(all, i) - all.begin());
      things.give(i);
    }
    bench.rest();
    EXPECT_LE(resident_blocks(things), 4u);
    EXPECT_FALSE(bench.has_timer());
  }
}

TEST(Slots, WhatAHugePageBroughtForNobodyGoesBack) {
  Bench bench;
  Things things;
  things.use(bench.worker());
  const auto all = take(things, 2 * kPerExtent + kPerExtent / 2);
  for (const uint32_t i : all)
    if (i != all.back()) things.give(i);
  bench.rest();
  EXPECT_LE(resident_blocks(things), 5u);
  EXPECT_EQ(things.at(all.back()).tag, all.size() - 1);
}

TEST(Slots, WhatWasToGoBackWhenThePoolWentIsNobodyElses) {
  Bench bench;
  for (int turn = 0; turn < 2; ++turn) {
    Things things;
    things.use(bench.worker());
    const auto all = take(things, 4 * kPerExtent);  // where the one before was
    if (turn == 1)
      while (bench.control())
        ;
    for (const uint32_t& i : all) {
      ASSERT_EQ(things.at(i).tag, &i - all.data());
      things.give(i);
    }
    ASSERT_TRUE(bench.fire());
  }
}

// Against a model, with a control thread that is late, or does nothing for a while.
TEST(Slots, NothingInUseIsLostWheneverTheControlThreadComes) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    std::mt19937 random(seed);
    Bench bench;
    constexpr uint32_t kLimit = 11 * kPerExtent + 37 * kPerBlock - 5;
    Things things(kLimit);
    things.use(bench.worker());
    std::vector<uint32_t> in_use;
    std::vector<uint8_t> is_used(kLimit);
    uint32_t tag = 0;
    const auto open = [&](uint32_t n) {
      while (n-- != 0) {
        const uint32_t i = things.take();
        if (i == Things::kNone) {
          ASSERT_EQ(in_use.size(), kLimit);
          return;
        }
        ASSERT_LT(i, kLimit);
        ASSERT_FALSE(std::exchange(is_used[i], 1));
        in_use.push_back(i);
        things.at(i).tag = things.at(i).rest[30] = ++tag;
        things.at(i).rest[0] = i;
      }
    };
    const auto close = [&](uint32_t n) {
      n = std::min(n, static_cast<uint32_t>(in_use.size()));
      while (n-- != 0) {
        std::swap(in_use[random() % in_use.size()], in_use.back());
        const uint32_t i = in_use.back();
        in_use.pop_back();
        ASSERT_EQ(things.at(i).rest[0], i);
        ASSERT_EQ(things.at(i).tag, things.at(i).rest[30]);
        is_used[i] = 0;
        things.give(i);
      }
    };
    for (int step = 0; step < 400; ++step) {
      switch (random() % 8) {
        case 0:
          open(random() % kLimit);
          break;
        case 1:
          open(random() % 500);
          break;
        case 2:
          close(random() % kLimit);
          break;
        case 3:
          close(random() % 500);
          break;
        case 4:
          close(kLimit);
          break;
        case 5:
          bench.fire();
          break;
        default:
          bench.control();
          break;
      }
      ASSERT_FALSE(HasFatalFailure()) << "seed " << seed << " step " << step;
    }
    close(kLimit);
    bench.rest();
    EXPECT_LE(resident_blocks(things), 4u);
  }
}

TEST(Slots, APoolMayGoWhileSomethingIsUnderWay) {
  Bench bench;
  std::atomic<bool> ends{false};
  std::thread control([&] {
    while (!ends.load()) bench.control();
  });
  for (int turn = 0; turn < 12; ++turn) {
    Things things;
    things.use(bench.worker());
    const auto all = take(things, 3 * kPerExtent + static_cast<uint32_t>(turn) * 100);
    for (const uint32_t i : all) things.give(i);
    for (int n = 0; n < turn % 4; ++n) bench.fire();
    const auto again = take(things, kPerExtent);
    for (const uint32_t i : again) things.at(i).rest[5] = 1'000'000u * turn + i;
    for (int n = 0; n < 3; ++n) bench.fire();
    for (const uint32_t i : again) ASSERT_EQ(things.at(i).rest[5], 1'000'000u * turn + i);
  }
  ends = true;
  control.join();
}

TEST(Slots, WithoutAWorkerAllOfItHappensAtOnce) {
  Things things;
  for (const uint32_t i : take(things, 5 * kPerExtent)) things.give(i);
  EXPECT_LE(resident_blocks(things), 4u);
}

}  // namespace
}  // namespace loom
