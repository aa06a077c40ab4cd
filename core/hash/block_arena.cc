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
constexpr std::size_t kAhead = 2 << 20;  // is fetched; and again when half of it is handed out
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
  SpinWait wait;
  lock_.lock();
  uint32_t found = find(log2);
  // Perhaps it is in what the kernel is being given, which is there again in a moment.
  while (!found && is_giving_) {
    lock_.unlock();
    wait.pause();
    lock_.lock();
    found = find(log2);
  }
  if (found) {
    ++live_;
    is_touched_ = true;
  }
  lock_.unlock();
  return found;
}

uint32_t BlockArena::find(unsigned log2) noexcept {
  if (const uint32_t reused = pop(log2)) return reused;
  const std::size_t n = std::size_t{1} << log2;
  if (again_ + n <= again_end_) return static_cast<uint32_t>(std::exchange(again_, again_ + n));
  if (next_ + n <= limit_ && commit(next_ + n)) return hand_out(n);
  if (given_ + n <= given_end_) return static_cast<uint32_t>(given_end_ -= n);
  return split_larger(log2);
}

// Of what was committed.
uint32_t BlockArena::hand_out(std::size_t units) noexcept {
  const std::size_t soon = (next_ + units) * unit_bytes_ + kAhead / 2;
  if (soon > std::max(fetched_, kHugeFrom) && fetched_ < limit_ * unit_bytes_)
    wants_fetch_.store(true, std::memory_order_relaxed);
  return static_cast<uint32_t>(std::exchange(next_, next_ + units));
}

void BlockArena::fetch_ahead() noexcept {
  lock_.lock();
  const std::size_t from = std::max({next_ * unit_bytes_, fetched_, kHugeFrom});
  const std::size_t to =
      std::min((std::max(next_ * unit_bytes_, kHugeFrom) + kAhead) & ~(kSystemPage - 1),
               limit_ * unit_bytes_);
  const std::size_t have = committed_.load(std::memory_order_relaxed) * unit_bytes_;
  // Since it was wanted, all of it may have gone back.
  const bool is_wanted = wants_fetch_.exchange(false, std::memory_order_relaxed);
  is_touched_ |= is_wanted;
  lock_.unlock();
  if (!is_wanted) return;
  // Others may commit the same meanwhile, which is no harm.
  const bool is_there =
      to <= have || mprotect(base_ + have, to - have, PROT_READ | PROT_WRITE) == 0;
  if (is_there && to > have) (void)madvise(base_ + have, to - have, MADV_HUGEPAGE);
  // Changes no byte: somebody may have been given it by now.
  for (std::size_t at = from; is_there && at < to; at += kSystemPage)
    asm volatile("lock orb $0, %0" : "+m"(base_[at]));
  const std::scoped_lock hold(lock_);
  if (is_there)
    committed_.store(std::max(committed_.load(std::memory_order_relaxed), to / unit_bytes_),
                     std::memory_order_relaxed);
  fetched_ = std::max(from, to);
}

void BlockArena::free(uint32_t offset, unsigned log2) noexcept {
  LOOM_DCHECK(offset != 0 && log2 <= kMaxLog2);
  const std::scoped_lock hold(lock_);
  push(offset, log2);
  --live_;
}

std::size_t BlockArena::give_back() noexcept {
  const std::scoped_lock hold(lock_);
  if (live_ != 0 || !is_touched_) return 0;
  // What was fetched, too, and of a huge page the rest: it has brought memory for all of it.
  const auto base = reinterpret_cast<std::uintptr_t>(base_);
  if (const std::size_t used = std::max(next_ * unit_bytes_, std::exchange(fetched_, 0));
      used > kHugeFrom) {
    const std::size_t whole = ((base + used + kHugePage - 1) & ~(kHugePage - 1)) - base;
    next_ = std::min(whole / unit_bytes_, committed_.load(std::memory_order_relaxed));
  }
  std::fill(std::begin(free_), std::end(free_), 0);
  again_ = 1;
  again_end_ = given_ = given_end_ = next_;
  is_touched_ = false;
  wants_fetch_.store(false, std::memory_order_relaxed);
  const std::size_t bytes = give_range();
  again_end_ = given_end_;
  given_ = given_end_ = 0;
  if (again_end_ != next_) return bytes;
  next_ = again_;  // one range, in which a large block fits
  again_ = again_end_ = 0;
  return bytes;
}

// From the end on, a huge page at a time, with the lock open. Who allocates meanwhile takes from
// the beginning.
std::size_t BlockArena::give_range() noexcept {
  constexpr std::size_t kPageMask = kSystemPage - 1;
  const auto base = reinterpret_cast<std::uintptr_t>(base_);
  std::size_t bytes = 0;
  while (again_ < again_end_) {
    const std::size_t to = again_end_ * unit_bytes_ & ~kPageMask;  // beyond may be handed out
    // The first page holds unit 0, which nobody has.
    const std::size_t in_use = again_ == 1 ? 0 : (again_ * unit_bytes_ + kPageMask) & ~kPageMask;
    if (to <= in_use) break;
    const std::size_t from =
        std::max(in_use, std::max(base, (base + to - 1) & ~(kHugePage - 1)) - base);
    again_end_ = std::max<std::size_t>(from / unit_bytes_, 1);
    is_giving_ = true;
    lock_.unlock();
    (void)madvise(base_ + from, to - from, MADV_DONTNEED);
    lock_.lock();
    is_giving_ = false;
    given_ = again_end_;
    bytes += to - from;
  }
  return bytes;
}

// Makes units [0, end) accessible.
bool BlockArena::commit(std::size_t end) noexcept {
  const std::size_t have = committed_.load(std::memory_order_relaxed) * unit_bytes_;
  const std::size_t need = end * unit_bytes_;
  if (need <= have) return true;
  const std::size_t whole = limit_ * unit_bytes_;
  const auto pages = [&](std::size_t bytes) {
    return std::min((bytes + kSystemPage - 1) & ~(kSystemPage - 1), whole);
  };
  const auto open = [&](std::size_t to) {
    return mprotect(base_ + have, to - have, PROT_READ | PROT_WRITE) == 0;
  };
  std::size_t want = pages(std::max(need, have + step_));
  // The system has not as much as would be convenient: as much as is needed.
  if (!open(want) && !open(want = pages(need))) return false;
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
