#include "hash/block_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include <hostloom/check.h>
#include <hostloom/types.h>

namespace loom {
namespace {
constexpr std::size_t kSystemPage = 4096;
constexpr std::size_t kFirstStep = 64 << 10;
constexpr std::size_t kLastStep = 16
                                  << 20;  // steps double up to here: few system calls, little waste
constexpr std::size_t kHugeFrom = 4 << 20;
constexpr std::size_t kHugePage = 2 << 20;
}  // namespace

BlockArena::~BlockArena() {
  if (base_) munmap(base_, limit_ * unit_bytes_);
}

Result<void> BlockArena::reserve(std::size_t unit_bytes, std::size_t max_bytes) {
  LOOM_CHECK(base_ == nullptr);
  if (!std::has_single_bit(unit_bytes) || unit_bytes < kCacheLine || unit_bytes > kSystemPage)
    return error(Status::kInvalid, "arena unit of " + std::to_string(unit_bytes) + " bytes");
  const std::size_t most = unit_bytes << 32;  // offsets are 32 bits
  const std::size_t bytes =
      std::clamp((max_bytes + kSystemPage - 1) & ~(kSystemPage - 1), 2 * kSystemPage, most);
  // Inaccessible until committed: mprotect() then reports an exhausted system as an error, where a
  // writable reservation would be refused here or end in SIGBUS or the OOM killer later.
  void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return error(Status::kNoMemory, "cannot reserve " + std::to_string(bytes) +
                                        " bytes of addresses: " + std::strerror(errno));
  base_ = static_cast<std::byte*>(p);
  unit_bytes_ = unit_bytes;
  limit_ = bytes / unit_bytes;
  step_ = kFirstStep;
  return {};
}

uint32_t BlockArena::alloc(unsigned log2) noexcept {
  LOOM_DCHECK(log2 <= kMaxLog2);
  const std::scoped_lock hold(lock_);
  const uint32_t found = find(log2);
  if (found) {
    ++live_;
    is_touched_ = true;
  }
  return found;
}

uint32_t BlockArena::find(unsigned log2) noexcept {
  if (const uint32_t reused = pop(log2)) return reused;
  const std::size_t n = std::size_t{1} << log2;
  if (again_ + n <= again_end_) return static_cast<uint32_t>(std::exchange(again_, again_ + n));
  if (next_ + n <= limit_ && commit(next_ + n))
    return static_cast<uint32_t>(std::exchange(next_, next_ + n));
  return split_larger(log2);
}

void BlockArena::free(uint32_t offset, unsigned log2) noexcept {
  LOOM_DCHECK(offset != 0 && log2 <= kMaxLog2);
  const std::scoped_lock hold(lock_);
  push(offset, log2);
  --live_;
}

std::size_t BlockArena::give_back() noexcept {
  lock_.lock();
  if (live_ != 0 || !is_touched_) {
    lock_.unlock();
    return 0;
  }
  // Whoever allocates while the lock is open gets units that were never handed out; of a huge page
  // none, as the rest of it would keep its memory when the used part of it goes.
  if (next_ * unit_bytes_ > kHugeFrom) {
    const auto base = reinterpret_cast<std::uintptr_t>(base_);
    const std::size_t whole =
        ((base + next_ * unit_bytes_ + kHugePage - 1) & ~(kHugePage - 1)) - base;
    next_ = std::min(whole / unit_bytes_, committed_.load(std::memory_order_relaxed));
  }
  const std::size_t end = next_;
  std::fill(std::begin(free_), std::end(free_), 0);
  again_ = again_end_ = 0;
  is_touched_ = false;
  lock_.unlock();
  const std::size_t bytes = end * unit_bytes_ & ~(kSystemPage - 1);  // beyond may be handed out
  if (bytes != 0) (void)madvise(base_, bytes, MADV_DONTNEED);
  const std::scoped_lock hold(lock_);
  again_ = 1;
  again_end_ = end;
  return bytes;
}

// Makes units [0, end) accessible.
bool BlockArena::commit(std::size_t end) noexcept {
  const std::size_t have = committed_.load(std::memory_order_relaxed) * unit_bytes_;
  const std::size_t need = end * unit_bytes_;
  if (need <= have) return true;
  const std::size_t whole = limit_ * unit_bytes_;
  std::size_t want = std::min(std::max(need, have + step_), whole);
  want = std::min((want + kSystemPage - 1) & ~(kSystemPage - 1), whole);
  if (mprotect(base_ + have, want - have, PROT_READ | PROT_WRITE) != 0) return false;
  // A table this large is looked up all over: with small pages each look would miss the TLB.
  if (have >= kHugeFrom) (void)madvise(base_ + have, want - have, MADV_HUGEPAGE);
  committed_.store(want / unit_bytes_, std::memory_order_relaxed);
  step_ = std::min(step_ * 2, kLastStep);
  return true;
}

uint32_t BlockArena::pop(unsigned log2) noexcept {
  const uint32_t head = free_[log2];
  if (head) free_[log2] = static_cast<uint32_t>(link(head).load(std::memory_order_relaxed));
  return head;
}

// The link is stored with release: a reader that took it for data then also sees that the block was
// unpublished before.
void BlockArena::push(uint32_t offset, unsigned log2) noexcept {
  link(offset).store(free_[log2], std::memory_order_release);
  free_[log2] = offset;
}

// The range is used up: halve the smallest larger free block until it fits.
uint32_t BlockArena::split_larger(unsigned log2) noexcept {
  for (unsigned k = log2 + 1; k <= kMaxLog2; ++k) {
    const uint32_t block = pop(k);
    if (!block) continue;
    while (k-- > log2) push(block + (1u << k), k);
    return block;
  }
  return 0;
}

}  // namespace loom
