#include "buffer/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "pool_worker.h"

namespace loom {
namespace {

TEST(BufferPool, HandsOutEachBufferOnceAndThenSaysThereAreNone) {
  auto pool = make_pool(1000);
  PoolWorker w(*pool);
  std::set<Buffer*> all;
  while (Buffer* b = w.alloc()) {
    EXPECT_TRUE(pool->owns(b));
    EXPECT_TRUE(all.insert(b).second);
  }
  EXPECT_EQ(all.size(), 1000u);
  EXPECT_EQ(pool->stats().exhausted, 1u);
  for (Buffer* b : all) w.free(b);
  EXPECT_EQ(in_use(*pool, w), 0u);
  EXPECT_NE(w.alloc(), nullptr);
}

TEST(BufferPool, BulkAllocationReturnsWhatThereWas) {
  auto pool = make_pool(300);
  PoolWorker w(*pool);
  std::vector<Buffer*> out(400);
  EXPECT_EQ(w.alloc(std::span(out)), 300u);
  EXPECT_EQ(w.alloc(std::span(out).first(1)), 0u);
  w.free(std::span(out).first(300));
  EXPECT_EQ(w.alloc(std::span(out).first(256)), 256u);
  w.free(std::span(out).first(256));
  EXPECT_EQ(in_use(*pool, w), 0u);
}

TEST(BufferPool, FreshBufferIsEmptyWithFullHeadroomWhateverItWasBefore) {
  auto pool = make_pool(1);
  PoolWorker w(*pool);
  Buffer* b = w.alloc();
  b->append(100);
  b->flags = kBufferTraced;
  b->rx_if = 3;
  b->session = 7;
  w.free(b);
  ASSERT_EQ(w.alloc(), b);
  EXPECT_EQ(b->length(), 0u);
  EXPECT_EQ(b->flags, 0u);
  EXPECT_EQ(b->headroom(), kHeadroom);
  EXPECT_EQ(b->tailroom(), 2048u);
  EXPECT_EQ(b->rx_if, kNoIndex);
  EXPECT_EQ(b->session, kNoIndex);
}

TEST(BufferPool, BuffersDoNotOverlap) {
  auto pool = make_pool(3, 300);  // rounded up to 320
  PoolWorker w(*pool);
  std::vector<Buffer*> b{w.alloc(), w.alloc(), w.alloc()};
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(b[i]->tailroom(), 320u);
    std::memset(b[i]->append(320), i, 320);
  }
  for (int i = 0; i < 3; ++i)
    for (uint32_t at = 0; at < 320; ++at) ASSERT_EQ(b[i]->data[at], std::byte(i));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b[1]) % kCacheLine, 0u);
}

TEST(BufferPool, FreeingAPacketFreesItsChain) {
  auto pool = make_pool(10);
  PoolWorker w(*pool);
  Buffer* a = w.alloc();
  a->next = w.alloc();
  a->next->next = w.alloc();
  EXPECT_EQ(in_use(*pool, w), 3u);
  w.free(a);
  EXPECT_EQ(in_use(*pool, w), 0u);
  EXPECT_EQ(w.alloc()->next, nullptr);
}

struct CountingOwner : ExternalOwner {
  CountingOwner() {
    release = [](Worker&, ExternalOwner& o, uint32_t token) noexcept {
      static_cast<CountingOwner&>(o).tokens.push_back(token);
    };
  }
  std::vector<uint32_t> tokens;
};

TEST(BufferPool, OwnersOfExternalSegmentsAreToldOncePerSegment) {
  auto pool = make_pool(10);
  PoolWorker w(*pool);
  const std::array<std::byte, 100> memory{};
  CountingOwner owner;
  Buffer* header = w.alloc();
  header->next = w.alloc_external(memory, &owner, 5);
  header->next->next = w.alloc_external(std::span(memory).first(10), &owner, 6);
  EXPECT_EQ(header->next->data, memory.data());
  EXPECT_EQ(header->next->headroom(), 0u);  // nobody may write in front of or behind the bytes
  EXPECT_EQ(header->next->tailroom(), 0u);
  EXPECT_TRUE(owner.tokens.empty());
  w.free(header);
  EXPECT_THAT(owner.tokens, testing::ElementsAre(5, 6));
  EXPECT_EQ(in_use(*pool, w), 0u);
  EXPECT_EQ(w.alloc()->owner, nullptr);  // the descriptor is an ordinary buffer again
}

TEST(BufferPool, NoDescriptorMeansTheOwnerKeepsItsMemory) {
  auto pool = make_pool(1);
  PoolWorker w(*pool);
  Buffer* only = w.alloc();
  CountingOwner owner;
  EXPECT_EQ(w.alloc_external({}, &owner, 1), nullptr);
  w.free(only);
  EXPECT_TRUE(owner.tokens.empty());
}

TEST(BufferPool, FullCacheSpillsHalfToThePool) {
  auto pool = make_pool(2000);
  PoolWorker w(*pool), other(*pool);
  std::vector<Buffer*> out(kBufferCacheSize + 1);
  ASSERT_EQ(other.alloc(std::span(out)), out.size());
  w.free(std::span(out).first(kBufferCacheSize));
  EXPECT_EQ(w.cache.n, kBufferCacheSize);
  w.free(out.back());
  EXPECT_EQ(w.cache.n, kBufferCacheSize / 2 + 1);
  EXPECT_EQ(in_use(*pool, w, other), 0u);
  EXPECT_EQ(w.alloc(), out.back());  // the last one freed is the warmest
}

TEST(BufferPool, BuffersOfAnotherPoolGoHome) {
  auto a = make_pool(10, 2048, 0), b = make_pool(10, 2048, 1);
  const std::array<BufferPool*, 2> peers{a.get(), b.get()};
  a->set_peers(peers);
  b->set_peers(peers);
  PoolWorker wa(*a), wb(*b);
  Buffer* from_a = wa.alloc();
  from_a->next = wb.alloc();
  wb.free(from_a);
  EXPECT_EQ(in_use(*a, wa), 0u);
  EXPECT_EQ(in_use(*b, wb), 0u);
}

TEST(BufferPool, FlushGivesTheCacheBack) {
  auto pool = make_pool(1000);
  PoolWorker w(*pool);
  w.free(w.alloc());
  EXPECT_EQ(pool->stats().free, 1000u - BufferPool::kBatch);
  pool->flush_cache(w);
  EXPECT_EQ(pool->stats().free, 1000u);
  EXPECT_EQ(w.cache.n, 0u);
}

// Memory of somebody else's, as a driver provides it.
std::span<std::byte> lent_memory(std::size_t size) {
  alignas(kCacheLine) static std::byte bytes[64 << 10];
  EXPECT_LE(size, sizeof bytes);
  return bytes;
}

TEST(BufferPool, MovesToOtherMemoryWithAnAreaInFrontOfEachBuffer) {
  auto pool = make_pool(20, 256);
  const std::size_t plain = pool->bytes_with(0);
  EXPECT_EQ(pool->bytes_with(192), plain + 20 * 192);
  const auto memory = lent_memory(pool->bytes_with(192));
  ASSERT_TRUE(pool->vacate());
  EXPECT_TRUE(pool->info().memory.empty());  // it is the machine's again
  ASSERT_TRUE(pool->move_to(SharedMemory::lent(memory, 4096), 192));
  const BufferPoolInfo info = pool->info();
  EXPECT_EQ(info.memory.data(), memory.data());
  EXPECT_EQ(info.front, 192u);
  EXPECT_EQ(info.n_buffers, 20u);
  EXPECT_EQ(info.stride, pool->bytes_with(192) / 20);
  PoolWorker w(*pool);
  std::array<Buffer*, 20> all;
  ASSERT_EQ(w.alloc(all), 20u);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto at = reinterpret_cast<std::byte*>(all[i]) - memory.data();
    EXPECT_EQ(static_cast<std::size_t>(at) % info.stride, 192u);  // each has its area
    EXPECT_TRUE(pool->owns(all[i]));
    EXPECT_EQ(all[i]->data_size, 256);
    std::memset(reinterpret_cast<std::byte*>(all[i]) - 192, 0xee, 192);  // which is not the pool's
  }
  EXPECT_FALSE(pool->owns(reinterpret_cast<Buffer*>(memory.data())));
  for (Buffer* b : all) EXPECT_EQ(b->pool, 0);
  w.free(all);
  EXPECT_EQ(in_use(*pool, w), 0u);
}

TEST(BufferPool, DoesNotMoveWhileABufferIsInUseNorToWhereItDoesNotFit) {
  auto pool = make_pool(20, 256);
  const auto memory = lent_memory(pool->bytes_with(64));
  EXPECT_EQ(pool->move_to(SharedMemory::lent(memory, 4096), 65).error().code, Status::kInvalid);
  EXPECT_EQ(pool->move_to(SharedMemory::lent(memory, 4096), 2048).error().code, Status::kInvalid);
  const auto too_small = memory.first(pool->bytes_with(64) - 1);
  EXPECT_EQ(pool->move_to(SharedMemory::lent(too_small, 4096), 64).error().code, Status::kInvalid);
  const auto crooked = memory.subspan(8);
  EXPECT_EQ(pool->move_to(SharedMemory::lent(crooked, 4096), 64).error().code, Status::kInvalid);
  PoolWorker w(*pool);
  Buffer* b = w.alloc();
  EXPECT_EQ(pool->vacate().error().code, Status::kInUse);
  EXPECT_EQ(pool->move_to(SharedMemory::lent(memory, 4096), 64).error().code, Status::kInUse);
  EXPECT_TRUE(pool->owns(b));
  w.free(b);
  EXPECT_EQ(pool->vacate().error().code, Status::kInUse);  // it lies in a worker's cache
  pool->flush_cache(w);
  EXPECT_EQ(pool->move_to(SharedMemory::lent(memory, 4096), 64).error().code, Status::kInUse);
  EXPECT_TRUE(pool->vacate());
  EXPECT_TRUE(pool->move_to(SharedMemory::lent(memory, 4096), 64));
}

TEST(BufferPool, ThreadsThatAreNoWorkersTakeAndGive) {
  auto pool = make_pool(3);
  std::array<Buffer*, 4> out{};
  EXPECT_EQ(pool->take(out), 3u);
  EXPECT_EQ(pool->stats().exhausted, 1u);
  EXPECT_EQ(pool->stats().free, 0u);
  for (Buffer* b : std::span(out).first(3)) EXPECT_EQ(b->headroom(), kHeadroom);
  pool->give(std::span(out).first(3));
  EXPECT_EQ(pool->stats().free, 3u);
  PoolWorker w(*pool);
  EXPECT_EQ(w.alloc(out), 3u);
  w.free(std::span(out).first(3));
}

TEST(BufferPool, RefusesSizesOutOfItsDomain) {
  EXPECT_EQ(BufferPool::create({.buffers_per_numa = 0}).error().code, Status::kInvalid);
  EXPECT_EQ(BufferPool::create({.data_size = 100}).error().code, Status::kInvalid);
  EXPECT_EQ(BufferPool::create({.data_size = 65'536}).error().code, Status::kInvalid);
  const auto bad_page = BufferPool::create({.page_size = 12'345});
  EXPECT_THAT(bad_page.error().message, testing::HasSubstr("12345"));
}

TEST(BufferPool, RefusesToStartWithoutItsMemory) {
  // 2^26 buffers of 32 KB are 2 TB; no machine that runs tests has them.
  const auto pool = BufferPool::create(
      {.buffers_per_numa = 1u << 26, .data_size = 32'000, .page_size = 1u << 30});
  ASSERT_FALSE(pool);
  EXPECT_THAT(pool.error().message, testing::HasSubstr("GB of memory"));
}

#ifndef NDEBUG
TEST(BufferPoolDeathTest, FreeingTwiceIsCaught) {
  auto pool = make_pool(10);
  PoolWorker w(*pool);
  Buffer* b = w.alloc();
  w.free(b);
  EXPECT_DEATH(w.free(b), "broken invariant");
}
#endif

// Two workers pass buffers to each other through the pool: what one frees the other allocates.
TEST(BufferPoolThreads, EachBufferHasOneHolderAtATime) {
  auto pool = make_pool(1500);  // more than two caches: both refill and spill
  std::array<PoolWorker, 2> workers{PoolWorker(*pool), PoolWorker(*pool)};
  const auto churn = [&](PoolWorker& w) {
    std::vector<Buffer*> held(600);
    for (int round = 0; round < 400; ++round) {
      const uint32_t n = w.alloc(std::span(held).first(1 + round * 37 % held.size()));
      const auto mine = static_cast<uint32_t>(&w - workers.data()) << 16 | round;
      for (uint32_t i = 0; i < n; ++i) std::memcpy(held[i]->append(4), &mine, 4);
      for (uint32_t i = 0; i < n; ++i) {
        uint32_t seen;
        std::memcpy(&seen, held[i]->data, 4);
        ASSERT_EQ(seen, mine);
      }
      w.free(std::span(held).first(n));
    }
  };
  std::thread a([&] { churn(workers[0]); }), b([&] { churn(workers[1]); });
  a.join();
  b.join();
  EXPECT_EQ(in_use(*pool, workers[0], workers[1]), 0u);
}

}  // namespace
}  // namespace loom
