// How a plugin publishes numbers in the statistics segment, for `loomctl top`, exporters and VPP's
// own stats clients. It hands over names and one function that reads its counters; the core calls
// it a few times a minute and copies. The data path is not involved.
#pragma once
#include <cstdint>
#include <span>

namespace loom {

// A number that one thread counts up (or down) and others read at any time. As cheap as a plain
// integer: one load and one store, no lock prefix.
class StatCounter {
 public:
  StatCounter& operator+=(uint64_t n) noexcept {
    __atomic_store_n(&value_, value_ + n, __ATOMIC_RELAXED);
    return *this;
  }
  StatCounter& operator-=(uint64_t n) noexcept { return *this += uint64_t{0} - n; }
  StatCounter& operator++() noexcept { return *this += 1; }
  StatCounter& operator--() noexcept { return *this -= 1; }
  uint64_t value() const noexcept { return __atomic_load_n(&value_, __ATOMIC_RELAXED); }
  operator uint64_t() const noexcept { return value(); }

 private:
  uint64_t value_ = 0;
};

enum class StatKind : uint8_t {
  kCounter,  // only grows; published for each worker
  kGauge,    // how much there is now; published as the sum over the workers
};

struct StatInfo {
  const char* name = nullptr;  // "active-opens"; the published name is PREFIX/NAME
  StatKind kind = StatKind::kCounter;
};

// Plain data with static lifetime. Registered by Host::add_stats, in init() or start().
struct StatSet {
  uint32_t struct_size = sizeof(StatSet);
  const char* prefix = nullptr;  // "/sys/tcp"
  std::span<const StatInfo> stats{};
  void* context = nullptr;
  // Writes the worker's numbers, one for each of `stats`, in their order; out is zero beforehand.
  // Control thread, after the plugin's start() and before its stop(), while the workers run: what
  // they count must be readable at any time (StatCounter). Must not wait for a worker: an idle
  // daemon's workers sleep, and this must not wake them.
  void (*read)(void* context, uint32_t worker, std::span<uint64_t> out) noexcept = nullptr;
};

}  // namespace loom
