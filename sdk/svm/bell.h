// How the two ends of cut-through sessions wake each other: a bit a session, set by the end that
// has news for the other. A bit says only where to look; setting it twice is setting it once, so
// nothing overflows and nothing is lost.
//
// One BellShared serves up to kBellSessions sessions of one pair of applications, and has a row for
// each application worker of each end. The end that rings chooses the row by the session's owner.
//
//   listener  sleeping = 1         | fence | look at summary  -> nothing: sleep on the doorbell
//   ringer    bit, then summary    | fence | look at sleeping -> 1: sleeping = 0, ring the doorbell
//
// The two applications may write all of it. What the other end writes there can wake or fail to
// wake this one about the sessions between the two, and nothing else.
#pragma once
#include <atomic>
#include <bit>
#include <cstdint>

#include "svm/fifo_wake.h"
#include "svm/protocol.h"

namespace loom::svm {

constexpr uint32_t kBellSessions = 1024;

struct alignas(64) BellRow {
  std::atomic<uint32_t> sleeping;
  std::atomic<uint32_t> summary;  // bit i: bits[i] is not 0
  std::atomic<uint64_t> bits[kBellSessions / 64];
};

struct BellShared {
  BellRow rows[2][kMaxAppWorkers];  // by end, by application worker
};

namespace bell {

constexpr uint32_t kBellWords = (1u << kBellSessions / 64) - 1;  // what of a summary means anything

// True: the worker sleeps, and the caller must write its doorbell, or else announce_sleep for it.
inline bool ring(BellRow& row, uint32_t bit) noexcept {
  row.bits[bit / 64].fetch_or(1ull << bit % 64, std::memory_order_release);
  row.summary.fetch_or(1u << bit / 64, std::memory_order_release);
  wake::fence();
  return row.sleeping.load(std::memory_order_relaxed) != 0 &&
         row.sleeping.exchange(0, std::memory_order_acq_rel) != 0;
}

inline bool is_quiet(const BellRow& row) noexcept {
  return (row.summary.load(std::memory_order_acquire) & kBellWords) == 0;
}

// Calls f(bit) for each session that was rung, and forgets them. True: there were any.
template <class F>
bool collect(BellRow& row, F&& f) noexcept {
  if (is_quiet(row)) return false;
  uint32_t words = row.summary.exchange(0, std::memory_order_acq_rel) & kBellWords;
  for (; words != 0; words &= words - 1) {
    const auto word = static_cast<uint32_t>(std::countr_zero(words));
    uint64_t bits = row.bits[word].exchange(0, std::memory_order_acq_rel);
    for (; bits != 0; bits &= bits - 1)
      f(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
  }
  return true;
}

// Of several rows: announce all, then one fence, then is_quiet of each.
inline void announce_sleep(BellRow& row) noexcept {
  row.sleeping.store(1, std::memory_order_relaxed);
}
inline void end_sleep(BellRow& row) noexcept { row.sleeping.store(0, std::memory_order_relaxed); }

}  // namespace bell
}  // namespace loom::svm
