// A packet buffer: two cache lines of description, then headroom and data. Packets longer than one
// buffer are chains; a segment may also refer to memory outside the pool (a fifo chunk), so that
// payload is sent without copying it. Ownership: whoever holds the Buffer* of a chain's first
// segment owns the whole chain, and passes it on or frees it (Worker::free). Thread: one worker at
// a time.
#pragma once
#include <cstring>
#include <span>

#include <hostloom/check.h>
#include <hostloom/types.h>

namespace loom {

struct Worker;

constexpr uint32_t kHeadroom = 128;          // bytes before the data of a fresh buffer
constexpr uint32_t kDefaultDataSize = 2048;  // buffers { default data-size N }
constexpr uint32_t kNoIndex = ~0u;

// Keeps memory outside the pool alive while segments point at it. release is called on the worker
// that frees the last segment referring to it through `token`; the owner counts references itself.
struct ExternalOwner {
  void (*release)(Worker&, ExternalOwner&, uint32_t token) noexcept;
};

enum BufferFlags : uint32_t {
  kBufferTraced = 1u << 0,
  kBufferExternal = 1u << 1,  // this segment's bytes are not the pool's; never write to them
  // Received: what the device already verified.
  kBufferL4ChecksumOk =
      1u << 4,  // TCP/UDP checksum verified, or never on a wire (virtio NEEDS_CSUM)
  kBufferIp4ChecksumOk = 1u << 5,
  // To send: what is still to be filled in. l3_offset and l4_offset must be set; for L4 the
  // checksum field holds the pseudo-header sum (not complemented), as Linux's CHECKSUM_PARTIAL and
  // virtio do.
  kBufferTxIp4Checksum = 1u << 6,
  kBufferTxTcpChecksum = 1u << 7,
  kBufferTxUdpChecksum = 1u << 8,
  kBufferIsIp6 = 1u << 9,               // with TX checksum or GSO: the L3 header is IPv6
  kBufferLocallyOriginated = 1u << 10,  // made by this host: no TTL decrement, no forwarding checks
  kBufferLinkGroup = 1u << 11,          // received as a link-layer broadcast or multicast
  kBufferNetGroup = 1u << 12,           // received for an IP broadcast or multicast address
  kBufferTxL4Checksum = kBufferTxTcpChecksum | kBufferTxUdpChecksum,
  kBufferGroup = kBufferLinkGroup | kBufferNetGroup,  // not for this host alone
};

struct alignas(kCacheLine) Buffer {
  // Line 0: read or written by every node.
  std::byte* data = nullptr;  // first valid byte of this segment
  Buffer* next = nullptr;     // rest of the chain
  uint32_t len = 0;           // valid bytes in this segment
  uint32_t rest_len = 0;      // first segment only: bytes in all the segments after it
  uint32_t flags = 0;         // BufferFlags
  uint16_t gso_size = 0;      // payload bytes per wire segment; 0 = not segmented
  uint8_t l4_protocol = 0;    // IPPROTO_*, set by the IP input nodes and by whoever sends
  uint8_t feature_arc = 0;    // arc being walked, 0 = none
  uint32_t rx_if = kNoIndex;  // interface it came from
  uint32_t tx_if = kNoIndex;  // interface it leaves by, once known
  int16_t l2_offset =
      0;  // header offsets, relative to start(); valid once the layer's node has run
  int16_t l3_offset = 0;
  int16_t l4_offset = 0;
  uint16_t feature_index = 0;   // position in the compiled lists of features, see kNextFeature
  uint32_t session = kNoIndex;  // transport's connection or the session, by node contract
  uint32_t fib_index = 0;       // routing table the packet is looked up in
  uint16_t feature_end = 0;     // node that follows the last feature of the arc
  // Line 1: description of segments, tracing, and what neighbouring nodes tell each other.
  alignas(kCacheLine) ExternalOwner* owner = nullptr;  // of an external segment
  uint32_t owner_token = 0;
  uint32_t adjacency = kNoIndex;  // index of the rewrite to send by; set by ip-lookup or the sender
  uint32_t trace_index = kNoIndex;
  uint16_t pool = 0;        // which pool owns the buffer
  uint16_t data_size = 0;   // capacity after headroom
  uint32_t hash = 0;        // flow hash, 0 = not computed
  uint16_t error_node = 0;  // who dropped it and why, for traces (NodeRuntime::set_error)
  uint16_t error_counter = 0;
  std::byte opaque[32];  // meaning agreed between one node and its next

  // Start of the pool memory of this segment: headroom, then data_size bytes. Meaningless for
  // external segments.
  std::byte* start() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  const std::byte* start() const noexcept { return reinterpret_cast<const std::byte*>(this + 1); }
  uint32_t length() const noexcept { return len + rest_len; }  // bytes in the packet
  bool is_traced() const noexcept { return flags & kBufferTraced; }
  bool is_external() const noexcept { return flags & kBufferExternal; }
  uint32_t headroom() const noexcept {
    return is_external() ? 0 : static_cast<uint32_t>(data - start());
  }
  uint32_t tailroom() const noexcept {
    return is_external() ? 0
                         : static_cast<uint32_t>(start() + kHeadroom + data_size - (data + len));
  }

  // The header at the current position, or nullptr when the first segment has fewer bytes. Drivers
  // keep at least the first 128 bytes of a packet in its first segment.
  template <class T>
  T* peek(uint32_t offset = 0) noexcept {
    static_assert(alignof(T) == 1, "wire structs are packed");
    return len >= offset + sizeof(T) ? reinterpret_cast<T*>(data + offset) : nullptr;
  }
  // Skips n bytes (n <= len) of the first segment; back() undoes it.
  void advance(uint32_t n) noexcept {
    LOOM_DCHECK(n <= len);
    data += n;
    len -= n;
  }
  // Makes room for n header bytes in front; n <= headroom().
  std::byte* prepend(uint32_t n) noexcept {
    LOOM_DCHECK(n <= headroom());
    data -= n;
    len += n;
    return data;
  }
  template <class T>
  T* prepend() noexcept {
    return reinterpret_cast<T*>(prepend(sizeof(T)));
  }
  // Appends n bytes (n <= tailroom()) to this segment and returns where they go. Last segment only.
  std::byte* append(uint32_t n) noexcept {
    LOOM_DCHECK(n <= tailroom());
    std::byte* at = data + len;
    len += n;
    return at;
  }
  // A header's place by the stored offset.
  template <class T>
  T* at(int16_t offset) noexcept {
    return reinterpret_cast<T*>(start() + offset);
  }
  int16_t offset_of_data() const noexcept { return static_cast<int16_t>(data - start()); }

  void prefetch() const noexcept { __builtin_prefetch(this); }
  void prefetch_data() const noexcept { __builtin_prefetch(data); }

  // Back to a fresh, empty, single segment. Pool segments only; keeps pool and data_size.
  void reset() noexcept {
    data = start() + kHeadroom;
    next = nullptr;
    len = rest_len = flags = 0;
    gso_size = 0;
    l4_protocol = feature_arc = 0;
    rx_if = tx_if = kNoIndex;
    feature_index = 0;
    session = kNoIndex;
    fib_index = 0;
    owner = nullptr;
    adjacency = trace_index = kNoIndex;
    hash = 0;
    error_node = error_counter = 0;
  }
};
static_assert(sizeof(Buffer) == 2 * kCacheLine);

// Chain helpers (core/buffer/chain.cc), through Worker: see worker.h.

}  // namespace loom
