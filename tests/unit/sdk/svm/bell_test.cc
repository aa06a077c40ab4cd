#include "svm/bell.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace loom::svm {
namespace {

std::vector<uint32_t> collected(BellRow& row) {
  std::vector<uint32_t> bits;
  bell::collect(row, [&](uint32_t bit) { bits.push_back(bit); });
  return bits;
}

TEST(Bell, TellsWhichSessionsWereRungEachOnce) {
  auto row = std::make_unique<BellRow>();
  EXPECT_TRUE(bell::is_quiet(*row));
  EXPECT_TRUE(collected(*row).empty());
  for (const uint32_t bit : {5u, 64u, 5u, kBellSessions - 1, 0u, 63u})
    EXPECT_FALSE(bell::ring(*row, bit)) << "nobody sleeps";
  EXPECT_FALSE(bell::is_quiet(*row));
  EXPECT_EQ(collected(*row), (std::vector<uint32_t>{0, 5, 63, 64, kBellSessions - 1}));
  EXPECT_TRUE(bell::is_quiet(*row));
}

TEST(Bell, OneOfThoseWhoRingWakesASleeper) {
  auto row = std::make_unique<BellRow>();
  bell::announce_sleep(*row);
  EXPECT_TRUE(bell::ring(*row, 1));
  EXPECT_FALSE(bell::ring(*row, 2)) << "it is being woken";
  bell::announce_sleep(*row);
  bell::end_sleep(*row);
  EXPECT_FALSE(bell::ring(*row, 3));
}

// The other end may write what it likes: bits beyond those there are lead nowhere.
TEST(Bell, AnySummaryIsBounded) {
  auto row = std::make_unique<BellRow>();
  row->summary.store(~0u);
  row->bits[3].store(~0ull);
  EXPECT_EQ(collected(*row).size(), 64u);
}

// Threads that ring sessions, and one that sleeps whenever it is quiet: it hears of every session's
// last ring.
TEST(Bell, NoRingIsLostToASleeper) {
  constexpr uint32_t kThreads = 3, kRings = 20'000, kSessions = 200;
  auto row = std::make_unique<BellRow>();
  const int doorbell = eventfd(0, EFD_NONBLOCK);
  ASSERT_GE(doorbell, 0);
  std::vector<std::atomic<uint32_t>> news(kThreads * kSessions);
  std::vector<std::thread> ringers;
  for (uint32_t t = 0; t < kThreads; ++t)
    ringers.emplace_back([&, t] {
      for (uint32_t i = 1; i <= kRings; ++i) {
        const uint32_t session = t * kSessions + i % kSessions;
        news[session].store(i, std::memory_order_release);
        if (bell::ring(*row, session)) (void)eventfd_write(doorbell, 1);
      }
    });
  std::vector<uint32_t> seen(news.size());
  const auto all_seen = [&] {
    uint32_t complete = 0;
    for (uint32_t t = 0; t < kThreads; ++t)
      for (uint32_t i = kRings - kSessions + 1; i <= kRings; ++i)
        complete += seen[t * kSessions + i % kSessions] == i;
    return complete == kThreads * kSessions;
  };
  while (!all_seen()) {
    if (bell::collect(*row, [&](uint32_t s) { seen[s] = news[s].load(std::memory_order_acquire); }))
      continue;
    bell::announce_sleep(*row);
    wake::fence();
    if (bell::is_quiet(*row)) {
      pollfd p{doorbell, POLLIN, 0};
      ASSERT_GT(::poll(&p, 1, 30'000), 0) << "a ring was lost";
      eventfd_t n;
      (void)eventfd_read(doorbell, &n);
    }
    bell::end_sleep(*row);
  }
  for (auto& t : ringers) t.join();
  ::close(doorbell);
}

}  // namespace
}  // namespace loom::svm
