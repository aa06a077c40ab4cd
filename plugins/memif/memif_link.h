// What two ends share while they are connected: regions, and rings in them. Built on the control
// thread; then each ring belongs to the one worker that receives from or sends into it. Whatever
// lies in the regions is the peer's to write at any time: every field is read once, and believed
// only where it agrees with what is kept here.
#pragma once
#include <hostloom/packet_io.h>
#include <hostloom/worker.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "bell.h"
#include "region.h"
#include "wire.h"

namespace loom::memif {

// 64 KB of IP, an Ethernet header, a VLAN tag.
constexpr uint32_t kMaxPacket = 65535 + 14 + 4;

// What a peer has written that cannot be. The link ends with it.
enum class Fault : uint8_t {
  kNone,
  kCursor,  // more slots than the ring has
  kChain,   // a packet that goes on where nothing is
  kRegion,  // a region that was not added
  kRange,   // bytes beyond the region's end, or the buffer's
  kLength,  // a buffer of no bytes, to be sent into
  kCount
};
const char* fault_name(Fault) noexcept;    // of its counter: "bad-cursor"
const char* fault_reason(Fault) noexcept;  // a sentence for the peer

// Slots of a ring that we, as slave, have made: slot i has its buffer at `at + i * stride`.
struct OwnBuffers {
  std::byte* base = nullptr;  // null: the slave is the peer, and the descriptors say where
  uint32_t offset = 0;        // of slot 0 in region 0
  uint32_t size = 0, stride = 0;
};

struct alignas(kCacheLine) Ring {
  RingMemory* shared = nullptr;
  OwnBuffers own;
  uint16_t mask = 0;
  uint16_t next = 0;  // our own cursor: what we have received, or sent, up to
  bool is_masked = false;

  uint32_t size() const noexcept { return mask + 1u; }
  // The slave writes head, the master tail.
  uint16_t peer_cursor() const noexcept {
    return __atomic_load_n(own.base ? &shared->tail : &shared->head, __ATOMIC_ACQUIRE);
  }
  void publish(uint16_t cursor) noexcept {
    __atomic_store_n(own.base ? &shared->head : &shared->tail, cursor, __ATOMIC_RELEASE);
  }
  // Of a slot of our own.
  std::byte* own_buffer(uint16_t slot) const noexcept {
    return own.base + static_cast<std::size_t>(slot & mask) * own.stride;
  }
  Descriptor read(uint16_t slot) const noexcept;
  // What of a descriptor of our own the peer is to see.
  void write(uint16_t slot, uint16_t flags, uint32_t length) noexcept;
};

struct RxRing : Ring {
  UniqueFd event;  // by which the peer wakes us

  // Slots with packets; more than size() is the peer's lie.
  uint16_t ready() const noexcept { return static_cast<uint16_t>(peer_cursor() - next); }
  // Gives `n` slots back to the peer.
  void release(uint16_t n) noexcept;
  void set_masked(bool masked) noexcept;
};

struct TxRing : Ring {
  explicit TxRing(Bell b) noexcept : bell(std::move(b)) {}
  Bell bell;
  std::atomic_flag is_busy;  // several tx queues share the ring

  // Slots to send into; more than size() is the peer's lie.
  uint32_t free() const noexcept {
    const auto behind = static_cast<uint16_t>(peer_cursor() - next);
    return own.base ? size() + static_cast<int16_t>(behind) : behind;
  }
  // The peer sees the packets up to `next`, and is woken if it wants to be.
  void send() noexcept;
};

struct Link {
  std::vector<Region> regions;
  std::vector<std::unique_ptr<RxRing>> rx;
  std::vector<std::unique_ptr<TxRing>> tx;
  bool is_ethernet = true;

  // As slave: the peer may send from now on. Again at the end of the handshake: DPDK's master sets
  // all cursors back to 0 there.
  void offer_buffers() noexcept;
};

// Node "memif-input".
enum RxCounter : uint16_t {
  kReceived,
  kJoined,
  kRunt,
  kTooLong,
  kBadVersion,
  kNoBuffers,
  kFirstFault,  // in the order of Fault, without kNone and what only sending finds
  kRxCounterCount = kFirstFault + static_cast<int>(Fault::kLength) - 1
};
using RxCounts = std::array<uint32_t, kRxCounterCount>;

// What a call of a queue may cost, over all of its rings: packets, those that are dropped as well,
// descriptors that are read, bytes that are copied. A packet that has begun is finished: it has no
// more slots than its ring, and no more bytes than kMaxPacket.
struct RxWork {
  uint32_t packets = kFrameSize;
  uint32_t slots = 4 * kFrameSize;
  uint32_t bytes = RxBudget::kMaxBytes;
  bool is_left() const noexcept { return packets != 0 && slots != 0 && bytes != 0; }
  void pay(uint32_t n_slots, uint32_t n_bytes) noexcept {
    --packets;
    slots -= std::min(slots, n_slots);
    bytes -= std::min(bytes, n_bytes);
  }
};

// Copies packets out of the ring until `out` is full or no work is left, and gives their slots
// back. TCP segments that go on where the one before ended are joined: `bytes` are the wire's.
// Packets that are none are dropped and counted, and so are calls that found no buffers: those
// packets stay, and no work is left.
struct Taken {
  uint32_t n = 0;
  uint64_t bytes = 0;
  Fault fault = Fault::kNone;
};
Taken take(Worker&, const Link&, RxRing&, std::span<Buffer*> out, RxWork&, RxCounts&) noexcept;

// Copies packets into the ring until it is full, or `most_bytes` are copied; the segment that has
// begun is finished. The first `n` are sent, will never fit (too_long) or are not what they say
// (bad_headers); they are still the caller's to free. Of the one behind them, only what has not
// been sent is left.
struct Put {
  uint32_t n = 0;
  uint64_t bytes = 0;
  uint32_t too_long = 0, bad_headers = 0;
  Fault fault = Fault::kNone;
};
Put put(const Link&, TxRing&, std::span<Buffer* const> packets,
        uint64_t most_bytes = ~uint64_t{0}) noexcept;

}  // namespace loom::memif
