// Adjacencies: how a packet leaves, or why it does not. An index into this table is what a routing
// table yields, what Buffer::adjacency holds and what transports cache (RouteInfo).
//
// Worker 0 is the only writer. Readers copy an entry under its sequence count: four words, retried
// only while worker 0 is changing that very entry. Slots are never unmapped, so that a stale index
// is harmless: it reads as kFree, or, long after, as another way out. An index is used again only
// kReuseDelay after it was freed; by then no packet and no cached route of that time is left.
#pragma once
#include <array>
#include <atomic>
#include <bit>
#include <memory>
#include <vector>

#include <hostloom/interface.h>
#include <hostloom/types.h>
#include <hostloom/wire.h>

namespace loom {

enum class AdjacencyKind : uint8_t {
  kFree,
  kNoRoute,     // what a lookup that finds nothing yields
  kBlackhole,   // a route that says drop
  kLocal,       // this host
  kBroadcast,   // a subnet's broadcast address: this host, and from this host to everybody
  kMulticast,   // a link's groups: the link-layer destination follows from the packet's
  kGlean,       // a connected subnet: the destination is itself the neighbour to resolve
  kIncomplete,  // a neighbour whose link-layer address is not known
  kRewrite,     // a neighbour whose link-layer address is known
};

struct Adjacency {
  AdjacencyKind kind = AdjacencyKind::kFree;
  uint8_t rewrite_length = 0;  // bytes of link-layer header: 14, or 0 on raw IP interfaces
  uint16_t reserved = 0;
  IfIndex tx_if = kNoIndex;
  uint16_t ip4_mtu = 0, ip6_mtu = 0;  // L3 bytes
  uint32_t neighbor = kNoIndex;       // NeighborTable's index, of kIncomplete and kRewrite
  EthernetHeader rewrite{};
  uint16_t reserved2 = 0;
};
static_assert(sizeof(Adjacency) == 32);

// The entries every host has, in this order.
constexpr uint32_t kAdjacencyNoRoute = 0, kAdjacencyBlackhole = 1, kAdjacencyLocal = 2,
                   kAdjacencyLimitedBroadcast = 3;  // 255.255.255.255

class AdjacencyTable {
 public:
  static constexpr uint32_t kChunk = 256, kMaxChunks = 512;
  static constexpr TimeNs kReuseDelay = 2 * kSecond;

  AdjacencyTable();

  // Any worker.
  Adjacency read(uint32_t index) const noexcept {
    const Slot* s = slot(index);
    if (!s) [[unlikely]]
      return {};
    for (;;) {
      const uint32_t before = s->sequence.load(std::memory_order_acquire);
      std::array<uint64_t, 4> words;
      for (std::size_t i = 0; i < 4; ++i) words[i] = s->words[i].load(std::memory_order_acquire);
      if (s->sequence.load(std::memory_order_relaxed) == before && !(before & 1)) [[likely]]
        return std::bit_cast<Adjacency>(words);
    }
  }
  // Any worker: packets go this way. One plain store per ageing period, none once it is set.
  void mark_used(uint32_t index) noexcept {
    if (Slot* s = slot(index); s && !s->used.load(std::memory_order_relaxed))
      s->used.store(true, std::memory_order_relaxed);
  }

  // Worker 0. kNoIndex when the table is full.
  uint32_t add(const Adjacency& a, TimeNs now);
  void update(uint32_t index, const Adjacency& a) noexcept;
  void remove(uint32_t index, TimeNs now);
  bool take_used(uint32_t index) noexcept {
    return slot(index)->used.exchange(false, std::memory_order_relaxed);
  }
  uint32_t size() const noexcept { return n_ - static_cast<uint32_t>(free_.size() - free_head_); }

 private:
  struct alignas(kCacheLine) Slot {
    std::atomic<uint32_t> sequence{0};  // odd while being written
    std::atomic<bool> used{false};
    std::array<std::atomic<uint64_t>, 4> words{};
  };
  struct Freed {
    uint32_t index;
    TimeNs when;
  };

  Slot* slot(uint32_t index) const noexcept {
    if (index >= kChunk * kMaxChunks) return nullptr;
    Slot* chunk = chunks_[index / kChunk].load(std::memory_order_acquire);
    return chunk ? chunk + index % kChunk : nullptr;
  }

  std::array<std::atomic<Slot*>, kMaxChunks> chunks_{};
  std::vector<std::unique_ptr<Slot[]>> storage_;
  uint32_t n_ = 0;           // slots ever used
  std::vector<Freed> free_;  // oldest first, from free_head_ on
  std::size_t free_head_ = 0;
};

}  // namespace loom
