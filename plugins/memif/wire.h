// memif protocol 2.0 as it lies in messages and in shared memory. Host byte order: both ends are on
// one machine. M2S is the direction from master to slave, S2M the other; the slave owns the memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace loom::memif {

constexpr uint16_t kVersion = 2 << 8;
constexpr uint32_t kCookie = 0x03e31f20;
constexpr uint8_t kMaxLog2RingSize = 14;
constexpr std::size_t kSecretSize = 24, kNameSize = 32;

enum class MessageType : uint16_t {
  kNone,
  kAck,         // either way: go on
  kHello,       // M2S, first: what the master allows
  kInit,        // S2M: which interface is wanted
  kAddRegion,   // S2M, with a memfd
  kAddRing,     // S2M, with what wakes the ring's receiver
  kConnect,     // S2M: all is said
  kConnected,   // M2S: the rings are in use from now on
  kDisconnect,  // either way, last
};

enum class Mode : uint8_t { kEthernet, kIp, kPuntInject };

struct [[gnu::packed]] Hello {
  char name[kNameSize];  // not always terminated, as all strings here
  uint16_t min_version, max_version;
  uint16_t max_region, max_m2s_ring, max_s2m_ring;  // the largest index, not the number
  uint8_t max_log2_ring_size;
};
struct [[gnu::packed]] Init {
  uint16_t version;
  uint32_t id;
  uint8_t mode;
  char secret[kSecretSize];
  char name[kNameSize];
};
struct [[gnu::packed]] AddRegion {
  uint16_t index;
  uint64_t size;
};
constexpr uint16_t kAddRingS2m = 1;
struct [[gnu::packed]] AddRing {
  uint16_t flags;
  uint16_t index;
  uint16_t region;
  uint32_t offset;
  uint8_t log2_ring_size;
  uint16_t private_header_size;
};
struct [[gnu::packed]] Connect {  // and connected
  char interface_name[kNameSize];
};
struct [[gnu::packed]] Disconnect {
  uint32_t code;
  char reason[96];
};

struct [[gnu::packed]] Message {
  uint16_t type;
  union {
    uint8_t raw[126];
    Hello hello;
    Init init;
    AddRegion add_region;
    AddRing add_ring;
    Connect connect;
    Disconnect disconnect;
  };
  explicit Message(MessageType t = MessageType::kNone) : type(static_cast<uint16_t>(t)), raw{} {}
  bool is(MessageType t) const noexcept { return type == static_cast<uint16_t>(t); }
};
static_assert(sizeof(Message) == 128);

// What a peer calls itself, for people: cut at the first zero, without anything unprintable.
template <std::size_t N>
std::string text_of(const char (&field)[N]) {
  std::string s;
  for (const char c : field) {
    if (c == 0) break;
    s += c >= ' ' && c <= '~' ? c : '?';
  }
  return s;
}
// Fills a field that is zero; cut to leave a zero at the end.
template <std::size_t N>
void put_text(char (&field)[N], std::string_view text) {
  for (std::size_t i = 0; i < text.size() && i + 1 < N; ++i) field[i] = text[i];
}

constexpr uint16_t kDescriptorNext = 1;  // the packet goes on in the next slot

struct alignas(8) Descriptor {
  uint16_t flags;
  uint16_t region;
  uint32_t length;
  uint32_t offset;
  uint32_t metadata;
};
static_assert(sizeof(Descriptor) == 16);

constexpr uint16_t kRingMaskInterrupt = 1;  // set by the receiver: do not wake me

// Free-running cursors. The slave writes head, the master tail. S2M: [tail, head) are packets. M2S:
// [tail, head) are empty buffers that the slave offers, and what tail has passed are packets.
struct RingMemory {
  uint32_t cookie;
  uint16_t flags;
  uint16_t head;
  std::byte pad0[56];
  uint16_t tail;
  std::byte pad1[62];
  Descriptor descriptors[];
};
static_assert(sizeof(RingMemory) == 128 && offsetof(RingMemory, tail) == 64);

constexpr uint64_t ring_bytes(uint8_t log2_size) {
  return sizeof(RingMemory) + (uint64_t{sizeof(Descriptor)} << log2_size);
}

}  // namespace loom::memif
