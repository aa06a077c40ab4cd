// The ring of a packet socket (PACKET_RX_RING, TPACKET_V2): slots of 2 KB that the kernel fills and
// the worker gives back, without a system call. A packet that is longer than a slot lies in the
// socket's own queue instead (PACKET_COPY_THRESH), and its slot says so: the order is the ring's.
//
// A packet that no virtio-net header can describe stops a ring for good: the kernel has marked the
// slot as its own when it finds out, drops the packet, and every later one for that mark. A read
// loses that packet only. So the kernel has to know the common kinds (can_use), and who sees a ring
// that takes nothing any more does without.
#pragma once
#include <linux/if_packet.h>

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include <hostloom/status.h>
#include <hostloom/virtio_net.h>

namespace loom::af_packet {

// What a slot says of its packet.
struct Slot {
  enum class Kind : uint8_t {
    kWhole,    // `bytes` is the packet
    kInQueue,  // it is the next one of the socket's queue
    kCut,      // it is longer, and the queue had no room for it
    kBad,      // the slot contradicts itself
  };
  Kind kind = Kind::kBad;
  std::span<const std::byte> bytes;
  VnetHeader header;
  std::optional<std::pair<uint16_t, uint16_t>> tag;  // that the kernel took out: type, TCI
};

class RxRing {
 public:
  static constexpr uint32_t kSlotSize = 2048, kSlots = 1024;
  static constexpr std::size_t kSize = std::size_t{kSlotSize} * kSlots;

  RxRing() = default;
  // Memory that the socket's ring is mapped to, or looks like it; unmapped in the end.
  explicit RxRing(std::byte* base) noexcept : base_(base) {}
  RxRing(RxRing&& o) noexcept : base_(std::exchange(o.base_, nullptr)), at_(o.at_) {}
  RxRing& operator=(RxRing&& o) noexcept {
    std::swap(base_, o.base_);
    std::swap(at_, o.at_);
    return *this;
  }
  ~RxRing();
  // Of a socket that is not bound yet.
  static Result<RxRing> make(int socket);
  // Whether a kernel of that release (uname) describes all that its own sockets send: before 6.2
  // datagrams that are to be cut (UDP_SEGMENT), which anybody sends, stop a ring.
  static bool can_use(const char* release) noexcept;
  explicit operator bool() const noexcept { return base_; }

  // Whether the kernel has filled the next slot.
  bool is_filled() const noexcept {
    return base_ && __atomic_load_n(&head().tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER;
  }
  // The next slot, which is filled. Its bytes are good until it is given back.
  Slot look() const noexcept;
  void give_back() noexcept {
    __atomic_store_n(&head().tp_status, uint32_t{TP_STATUS_KERNEL}, __ATOMIC_RELEASE);
    at_ = (at_ + 1) % kSlots;
  }
  void prefetch_next() const noexcept {
    __builtin_prefetch(base_ + std::size_t{(at_ + 1) % kSlots} * kSlotSize);
  }

 private:
  tpacket2_hdr& head() const noexcept {
    return *reinterpret_cast<tpacket2_hdr*>(base_ + std::size_t{at_} * kSlotSize);
  }
  std::byte* base_ = nullptr;
  uint32_t at_ = 0;
};

}  // namespace loom::af_packet
