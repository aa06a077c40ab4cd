// What one call of DriverOps::rx has found: packets that go on together, and those that are
// dropped. Each is one of the driver's counters: it counts those that go on itself, as it has
// words of its own for them. On a worker, and for one call.
#pragma once
#include <array>
#include <cstddef>
#include <cstring>

#include <hostloom/driver.h>
#include <hostloom/node.h>
#include <hostloom/wire.h>

namespace loom {

class RxFrame {
 public:
  // rt: of the driver's input node; index: the interface.
  RxFrame(NodeRuntime& rt, IfIndex index) noexcept : rt_(rt), index_(index) {}
  RxFrame(const RxFrame&) = delete;

  // Whether so many more may be found: a call's bound is one frame.
  bool has_room(uint32_t n = 1) const noexcept { return n_found() + n <= kFrameSize; }
  uint32_t n_found() const noexcept { return n_ + n_dropped_; }
  uint32_t n_good() const noexcept { return n_; }
  uint32_t n_bytes() const noexcept { return n_bytes_; }  // of the good ones
  // What the call has copied, also of those that were dropped: what RxBudget::kMaxBytes bounds.
  uint32_t n_spent() const noexcept { return n_bytes_ + n_dropped_bytes_; }

  // has_room() was true. Takes the packet.
  void add(Buffer& packet) noexcept {
    packet.rx_if = index_;
    add(packet, packet.length());
  }
  // The same for one of so many bytes that says already which interface it came from.
  void add(Buffer& packet, uint32_t length) noexcept {
    n_bytes_ += length;
    packets_[n_++] = &packet;
  }
  // One that has become no packet, or whose buffers the driver has freed. spent: bytes that were
  // copied for it.
  void drop(uint16_t why, uint32_t spent = 0) noexcept {
    rt_.count(why);
    ++n_dropped_;
    n_dropped_bytes_ += spent;
  }
  // Takes the packet. to_drop: the next that is node "drop".
  void drop(Buffer& packet, uint16_t why, uint16_t to_drop) noexcept {
    drop(why, packet.length());
    packet.rx_if = index_;
    rt_.set_error(packet, why);
    Buffer* one = &packet;
    rt_.enqueue_all({&one, 1}, to_drop);
  }

  // What was found goes to `next` and into the interface's counters. Returns how many that were,
  // which is what DriverOps::rx returns. Once.
  uint32_t hand_on(uint16_t next, RxTotals& totals) noexcept {
    if (n_ != 0) rt_.enqueue_all({packets_.data(), n_}, next);
    if (n_found() != 0) totals.add(rt_.worker->index, n_, n_bytes_, n_dropped_);
    return n_found();
  }

 private:
  NodeRuntime& rt_;
  const IfIndex index_;
  uint32_t n_ = 0, n_bytes_ = 0, n_dropped_ = 0, n_dropped_bytes_ = 0;
  std::array<Buffer*, kFrameSize> packets_;  // not initialised: only what is used is touched
};

// Puts a VLAN tag that came beside the packet back behind the addresses. Offsets that are noted
// already stay right: what moves is in front of them. Nothing without headroom for it.
inline void restore_vlan_tag(Buffer& b, uint16_t type, uint16_t tci) noexcept {
  const struct { Be16 type, tci; } tag{type, tci};
  if (b.headroom() < sizeof tag) return;
  constexpr std::size_t kAddresses = offsetof(EthernetHeader, type);
  std::byte* at = b.prepend(sizeof tag);
  std::memmove(at, at + sizeof tag, kAddresses);
  std::memcpy(at + kAddresses, &tag, sizeof tag);
}

}  // namespace loom
