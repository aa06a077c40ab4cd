// IPv6's fragment header (RFC 8200 section 4.5).
#pragma once
#include <hostloom/wire.h>

namespace loom {

constexpr uint8_t kIp6FragmentHeader = 44;  // as a next header
constexpr uint32_t kIp6LeastMtu = 1280;     // of any link (RFC 8200 section 5)
constexpr uint16_t kIp6FragmentOffset = 0xfff8, kIp6MoreFragments = 1;  // of offset_flags

struct [[gnu::packed]] Ip6FragmentHeader {
  uint8_t next_header;
  uint8_t reserved;
  Be16 offset_flags;  // the offset in bytes, of which the last three bits are 0; bit 0: more follow
  Be32 id;
};
static_assert(sizeof(Ip6FragmentHeader) == 8 && alignof(Ip6FragmentHeader) == 1);

}  // namespace loom
