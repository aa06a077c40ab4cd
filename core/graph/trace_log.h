// One worker's packet trace: an append-only log of node visits and of what nodes recorded, in the
// order in which things happened. Full means lost, never overwritten: the first packets are the
// ones that were asked for. Thread: the worker.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <hostloom/node.h>
#include <hostloom/types.h>

namespace loom {

class TraceLog {
 public:
  enum class Kind : uint16_t { kVisit, kRecord };
  struct Entry {
    uint32_t packet;  // number of the traced packet on this worker
    NodeId node;
    Kind kind;
    uint32_t size;  // of the node's record, which follows; 0 for a visit
    uint32_t length;
    TimeNs time;
    uint32_t rx_if, tx_if;
  };
  static_assert(sizeof(Entry) % 8 == 0);        // records are aligned to 8
  static constexpr uint32_t kMaxRecord = 1024;  // bytes of one node's record

  void reserve(std::size_t bytes) {
    if (capacity_) return;
    bytes_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
    capacity_ = bytes;
  }
  void clear() noexcept {
    used_ = 0;
    lost_ = 0;
    first_packet_ = next_packet_;  // packets marked before are still under way: not logged again
    active_ = false;
  }
  bool active() const noexcept { return active_; }
  void activate() noexcept { active_ = true; }
  uint32_t new_packet() noexcept { return next_packet_++; }

  // Room for a visit (size 0) or a record of `size` bytes; nullptr when the log is full.
  void* append(const Entry& e) noexcept {
    if (e.packet - first_packet_ >= next_packet_ - first_packet_) return nullptr;
    const std::size_t need = sizeof(Entry) + (e.size + 7u) / 8 * 8;
    if (e.size > kMaxRecord || capacity_ - used_ < need) {
      ++lost_;
      return nullptr;
    }
    auto* at = new (bytes_.get() + used_) Entry(e);
    used_ += need;
    return at + 1;
  }
  std::span<const std::byte> bytes() const noexcept { return {bytes_.get(), used_}; }
  uint64_t lost() const noexcept { return lost_; }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t capacity_ = 0, used_ = 0;
  uint64_t lost_ = 0;
  uint32_t first_packet_ = 0, next_packet_ = 0;
  bool active_ = false;
};

}  // namespace loom
