// Neighbour-discovery messages as they lie in packets (RFC 4861 section 4), and their options.
#pragma once
#include <optional>

#include <hostloom/wire.h>

namespace loom {

struct NeighborMessage {  // solicitation and advertisement have the same shape
  uint8_t type;
  uint8_t code;
  [[gnu::packed]] uint16_t checksum;
  Be32 flags;  // advertisement only
  Ip6Address target;
};
static_assert(sizeof(NeighborMessage) == 24);
constexpr uint32_t kNdRouter = 1u << 31, kNdSolicited = 1u << 30, kNdOverride = 1u << 29;

struct LinkLayerOption {
  uint8_t type;
  uint8_t length;  // in units of 8 bytes
  MacAddress mac;
};
static_assert(sizeof(LinkLayerOption) == 8);
constexpr uint8_t kNdSourceLinkLayer = 1, kNdTargetLinkLayer = 2;
constexpr uint8_t kNdHopLimit = 255;  // proof that the message crossed no router

enum class NdOptionFault : uint8_t {
  kNone,
  kLengthZero,       // RFC 4861 section 4.6: the message is discarded
  kOverrun,          // beyond the message
  kLinkLayerLength,  // not an Ethernet address
};

struct NdOptions {
  NdOptionFault fault = NdOptionFault::kNone;
  std::optional<MacAddress> link_layer;
};

// The options of a message, of which `wanted` is kept; the first fault ends it. Bounded: each takes
// 8 bytes at least.
inline NdOptions parse_nd_options(const std::byte* bytes, uint32_t size, uint8_t wanted) noexcept {
  NdOptions out;
  while (size != 0) {
    if (size < 2) return {NdOptionFault::kOverrun, {}};
    const auto type = static_cast<uint8_t>(bytes[0]);
    const uint32_t length = static_cast<uint8_t>(bytes[1]) * 8u;
    if (length == 0) return {NdOptionFault::kLengthZero, {}};
    if (length > size) return {NdOptionFault::kOverrun, {}};
    if (type == wanted) {
      if (length != sizeof(LinkLayerOption)) return {NdOptionFault::kLinkLayerLength, {}};
      MacAddress mac;
      std::memcpy(mac.bytes.data(), bytes + 2, 6);
      out.link_layer = mac;
    }
    bytes += length;
    size -= length;
  }
  return out;
}

}  // namespace loom
