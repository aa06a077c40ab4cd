#include "net/adjacency/adjacency.h"

#include <hostloom/check.h>

namespace loom {

AdjacencyTable::AdjacencyTable() {
  LOOM_CHECK(add({.kind = AdjacencyKind::kNoRoute}, 0) == kAdjacencyNoRoute);
  LOOM_CHECK(add({.kind = AdjacencyKind::kBlackhole}, 0) == kAdjacencyBlackhole);
  LOOM_CHECK(add({.kind = AdjacencyKind::kLocal}, 0) == kAdjacencyLocal);
  LOOM_CHECK(add({.kind = AdjacencyKind::kBroadcast}, 0) == kAdjacencyLimitedBroadcast);
}

uint32_t AdjacencyTable::add(const Adjacency& a, TimeNs now) {
  uint32_t index;
  if (free_head_ < free_.size() && free_[free_head_].when + kReuseDelay <= now) {
    index = free_[free_head_++].index;
    if (free_head_ >= 1024 && free_head_ * 2 >= free_.size()) {
      free_.erase(free_.begin(), free_.begin() + static_cast<std::ptrdiff_t>(free_head_));
      free_head_ = 0;
    }
  } else {
    if (n_ == kChunk * kMaxChunks) return kNoIndex;
    if (n_ % kChunk == 0) {
      storage_.push_back(std::make_unique<Slot[]>(kChunk));
      chunks_[n_ / kChunk].store(storage_.back().get(), std::memory_order_release);
    }
    index = n_++;
  }
  slot(index)->used.store(false, std::memory_order_relaxed);
  update(index, a);
  return index;
}

void AdjacencyTable::update(uint32_t index, const Adjacency& a) noexcept {
  Slot* s = slot(index);
  LOOM_CHECK(s);
  const auto words = std::bit_cast<std::array<uint64_t, 4>>(a);
  const uint32_t sequence = s->sequence.load(std::memory_order_relaxed);
  s->sequence.store(sequence + 1, std::memory_order_relaxed);
  // Releases and acquires throughout (plain moves on x86): who sees a new word sees the odd count.
  for (std::size_t i = 0; i < 4; ++i) s->words[i].store(words[i], std::memory_order_release);
  s->sequence.store(sequence + 2, std::memory_order_release);
}

void AdjacencyTable::remove(uint32_t index, TimeNs now) {
  update(index, {});
  free_.push_back({index, now});
}

}  // namespace loom
