#include "buffer/pool.h"

#include <algorithm>
#include <cstring>

namespace loom {
namespace {

// A free buffer has no data: what frees it twice is caught where it happens.
[[maybe_unused]] bool is_free(const Buffer* b) { return b->data == nullptr; }

}  // namespace

Result<std::unique_ptr<BufferPool>> BufferPool::create(const BufferConfig& config,
                                                       uint16_t pool_index, int numa_node) {
  if (config.buffers_per_numa == 0 || config.buffers_per_numa > 1u << 26)
    return error(Status::kInvalid, "buffers-per-numa " + std::to_string(config.buffers_per_numa) +
                                       " is not from 1 to 67108864");
  // Drivers keep 128 bytes of headers in the first segment; segment offsets are 16 bits, signed.
  if (config.data_size < 256 || config.data_size > 32'000)
    return error(Status::kInvalid, "buffer data-size " + std::to_string(config.data_size) +
                                       " is not from 256 to 32000");
  const auto data_size =
      static_cast<uint32_t>((config.data_size + kCacheLine - 1) / kCacheLine * kCacheLine);
  const std::size_t stride = sizeof(Buffer) + kHeadroom + data_size;
  auto memory = SharedMemory::create("hostloom-buffers", stride * config.buffers_per_numa,
                                     config.page_size, numa_node);
  if (!memory) return std::move(memory).error();
  return std::unique_ptr<BufferPool>(new BufferPool(*std::move(memory), config.buffers_per_numa,
                                                    data_size, pool_index, numa_node));
}

BufferPool::BufferPool(SharedMemory memory, uint32_t n, uint32_t data_size, uint16_t index,
                       int numa_node)
    : memory_(std::move(memory)),
      stride_(sizeof(Buffer) + kHeadroom + data_size),
      n_(n),
      data_size_(data_size),
      index_(index),
      numa_node_(numa_node) {
  free_.resize(n);
  lay_out();
}

void BufferPool::lay_out() {
  std::byte* at = memory_.bytes().data() + front_;
  for (uint32_t i = 0; i < n_; ++i, at += stride_) {
    auto* b = new (at) Buffer;
    b->pool = index_;
    b->data_size = static_cast<uint16_t>(data_size_);
    free_[n_ - 1 - i] = b;  // handed out in the order of their addresses
  }
}

Result<void> BufferPool::vacate() {
  const std::lock_guard hold(lock_);
  if (free_.size() != n_) return error(Status::kInUse, "buffers are in use");
  free_.clear();
  memory_ = SharedMemory();
  return {};
}

Result<void> BufferPool::move_to(SharedMemory memory, uint32_t front) {
  if (front % kCacheLine != 0 || front > kMostBufferFront)
    return error(Status::kInvalid,
                 "an area of " + std::to_string(front) +
                     " bytes before each buffer is not whole cache lines of at most " +
                     std::to_string(kMostBufferFront) + " bytes");
  const auto at = reinterpret_cast<uintptr_t>(memory.bytes().data());
  if (at == 0 || at % kCacheLine != 0 || memory.bytes().size() < bytes_with(front))
    return error(Status::kInvalid, "memory of " + std::to_string(memory.bytes().size()) +
                                       " bytes does not hold " + std::to_string(n_) + " buffers");
  const std::lock_guard hold(lock_);
  if (!free_.empty() || !memory_.bytes().empty())
    return error(Status::kInUse, "the buffers have memory");
  free_.resize(n_);  // within its capacity
  memory_ = std::move(memory);
  front_ = front;
  stride_ = stride_with(front);
  lay_out();
  return {};
}

uint32_t BufferPool::take(std::span<Buffer*> out) noexcept {
  uint32_t n = 0;
  {
    const std::lock_guard hold(lock_);
    n = std::min(static_cast<uint32_t>(out.size()), static_cast<uint32_t>(free_.size()));
    std::copy(free_.end() - n, free_.end(), out.begin());
    free_.resize(free_.size() - n);
    if (n < out.size()) ++exhausted_;
  }
  for (Buffer* b : out.first(n)) b->reset();
  return n;
}

void BufferPool::give(std::span<Buffer* const> buffers) noexcept {
  for (Buffer* b : buffers) {
    LOOM_DCHECK(!is_free(b) && b->pool == index_);
    b->data = nullptr;
  }
  give_back(buffers);
}

BufferPoolInfo BufferPool::info() const noexcept {
  return {.memory = memory_.bytes(),
          .stride = stride_,
          .n_buffers = n_,
          .data_size = data_size_,
          .front = front_,
          .numa_node = numa_node_,
          .page_size = memory_.page_size()};
}

// Moves up to `wanted` buffers from the free list to the end of the cache; fewer when it runs dry.
uint32_t BufferPool::refill(Worker& w, uint32_t wanted) noexcept {
  BufferCache& cache = w.cache;
  wanted = std::min(wanted, static_cast<uint32_t>(kBufferCacheSize) - cache.n);
  const std::lock_guard hold(lock_);
  const auto n = std::min<uint32_t>(wanted, static_cast<uint32_t>(free_.size()));
  std::copy(free_.end() - n, free_.end(), cache.free.begin() + cache.n);
  free_.resize(free_.size() - n);
  cache.n += n;
  return n;
}

uint32_t BufferPool::alloc(Worker& w, std::span<Buffer*> out) noexcept {
  BufferCache& cache = w.cache;
  uint32_t done = 0;
  while (done < out.size()) {
    if (cache.n == 0 && refill(w, kBatch) == 0) {
      const std::lock_guard hold(lock_);
      ++exhausted_;
      break;
    }
    const auto n = std::min<uint32_t>(cache.n, static_cast<uint32_t>(out.size()) - done);
    for (uint32_t i = 0; i < n; ++i) {
      Buffer* b = cache.free[--cache.n];
      b->reset();
      out[done++] = b;
    }
  }
  return done;
}

Buffer* BufferPool::alloc_external(Worker& w, std::span<const std::byte> bytes,
                                   ExternalOwner* owner, uint32_t token) noexcept {
  Buffer* b = nullptr;
  if (alloc(w, {&b, 1}) == 0) return nullptr;
  b->flags = kBufferExternal;
  b->data = const_cast<std::byte*>(bytes.data());  // kBufferExternal says: never written to
  b->len = static_cast<uint32_t>(bytes.size());
  b->owner = owner;
  b->owner_token = token;
  return b;
}

// One segment back to the cache, or to its own pool when it came from elsewhere.
void BufferPool::put(Worker& w, Buffer* b) noexcept {
  LOOM_DCHECK(!is_free(b));
  b->data = nullptr;
  if (b->pool != index_) [[unlikely]] {
    LOOM_CHECK(b->pool < peers_.size());
    peers_[b->pool]->give_back({&b, 1});
    return;
  }
  BufferCache& cache = w.cache;
  if (cache.n == kBufferCacheSize) [[unlikely]] {
    // The oldest go back: what was freed last is still in this core's caches.
    give_back(std::span(cache.free).first(kBatch));
    std::copy(cache.free.begin() + kBatch, cache.free.end(), cache.free.begin());
    cache.n -= kBatch;
  }
  cache.free[cache.n++] = b;
}

void BufferPool::free(Worker& w, std::span<Buffer* const> chains) noexcept {
  for (Buffer* b : chains) {
    while (b) {
      Buffer* rest = b->next;
      // The owner may look at nothing but the token: the segment is on its way out.
      if (b->is_external() && b->owner) [[unlikely]]
        b->owner->release(w, *b->owner, b->owner_token);
      put(w, b);
      b = rest;
    }
  }
}

void BufferPool::give_back(std::span<Buffer* const> buffers) noexcept {
  const std::lock_guard hold(lock_);
  LOOM_CHECK(free_.size() + buffers.size() <= n_);
  free_.insert(free_.end(), buffers.begin(), buffers.end());  // capacity is n_: does not allocate
}

void BufferPool::flush_cache(Worker& w) noexcept {
  give_back(std::span(w.cache.free).first(w.cache.n));
  w.cache.n = 0;
}

BufferPool::Stats BufferPool::stats() const noexcept {
  const std::lock_guard hold(lock_);
  return {.total = n_,
          .free = static_cast<uint32_t>(free_.size()),
          .data_size = data_size_,
          .numa_node = numa_node_,
          .page_size = memory_.page_size(),
          .exhausted = exhausted_};
}

bool BufferPool::owns(const Buffer* b) const noexcept {
  const auto* at = reinterpret_cast<const std::byte*>(b);
  const std::byte* first = memory_.bytes().data() + front_;
  return at >= first && at < first + stride_ * n_ &&
         static_cast<std::size_t>(at - first) % stride_ == 0;
}

}  // namespace loom
