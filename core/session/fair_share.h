// Something that all applications draw on, of which no namespace's quota is kept by default: file
// descriptors, address space, places of listeners, memberships of groups.
//
// Rule: after each taking, what is left for others is at least what the taker has. So one alone may
// have half of all, and however many take all they can, a newcomer finds something. (Memory of
// switches is shared out between ports by the same rule, as "dynamic thresholds".)
//
// Threads: any. Who takes while others do may be refused what he would have been given alone; never
// is more taken than there is.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

namespace loom::session {

class FairShare {
 public:
  explicit FairShare(uint64_t all) noexcept : all_(all) {}
  uint64_t all() const noexcept { return all_; }
  uint64_t left() const noexcept { return all_ - taken_.load(std::memory_order_relaxed); }
  // Whether a taker that has `mine` may take n more.
  bool has(uint64_t mine, uint64_t n) const noexcept { return leaves(left(), mine, n); }

 private:
  friend class Taken;
  static bool leaves(uint64_t left, uint64_t mine, uint64_t n) noexcept {
    return n <= left && mine + n <= left - n;
  }
  bool take(uint64_t mine, uint64_t n) noexcept {
    uint64_t taken = taken_.load(std::memory_order_relaxed);
    do {
      if (!leaves(all_ - taken, mine, n)) return false;
    } while (!taken_.compare_exchange_weak(taken, taken + n, std::memory_order_relaxed));
    return true;
  }
  uint64_t all_;
  std::atomic<uint64_t> taken_{0};
};

// What one taker has of a share, and gives back at its end. The share lives longer.
class Taken {
 public:
  Taken() = default;  // of nothing: no limit, and not counted
  Taken(const Taken&) = delete;
  Taken& operator=(const Taken&) = delete;
  ~Taken() { give_back(count()); }
  void begin(FairShare& of) noexcept { of_ = &of; }
  uint64_t count() const noexcept { return n_.load(std::memory_order_relaxed); }

  // False: nothing was taken.
  [[nodiscard]] bool take(uint64_t n) noexcept {
    if (!of_) return true;
    const uint64_t mine = n_.fetch_add(n, std::memory_order_relaxed);
    if (of_->take(mine, n)) return true;
    n_.fetch_sub(n, std::memory_order_relaxed);
    return false;
  }
  void give_back(uint64_t n) noexcept {
    if (!of_) return;
    of_->taken_.fetch_sub(n, std::memory_order_relaxed);
    n_.fetch_sub(n, std::memory_order_relaxed);
  }

 private:
  FairShare* of_ = nullptr;
  std::atomic<uint64_t> n_{0};
};

// Of what is taken, what somebody holds who goes before.
class TakenPart {
 public:
  TakenPart() = default;
  TakenPart(Taken& of, uint64_t n) noexcept : of_(&of), n_(n) {}
  TakenPart(TakenPart&& o) noexcept : of_(std::exchange(o.of_, nullptr)), n_(o.n_) {}
  TakenPart& operator=(TakenPart&& o) noexcept {
    std::swap(of_, o.of_);
    std::swap(n_, o.n_);
    return *this;
  }
  ~TakenPart() {
    if (of_) of_->give_back(n_);
  }

 private:
  Taken* of_ = nullptr;
  uint64_t n_ = 0;
};

constexpr uint32_t kMaxListeners = 1u << 16, kMaxPairs = 4096;
constexpr uint32_t kMaxMemberships = 4096;  // each may be of another group: GroupTable::kMaxGroups
constexpr uint64_t kMostAddresses = 1ull << 46;  // bytes; of the 2^47 that a process has

// Of the daemon. Descriptors are those of its process, less what the rest of it needs.
struct Shares {
  Shares() noexcept;
  FairShare descriptors;
  FairShare address_space{kMostAddresses};  // of segments
  FairShare listeners{kMaxListeners};
  FairShare memberships{kMaxMemberships};  // of groups, by datagram sockets
  FairShare pairs{kMaxPairs};              // of applications; who connects first takes it
};

}  // namespace loom::session
