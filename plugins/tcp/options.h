// TCP options on the wire: MSS (RFC 9293), window scale and timestamps (RFC 7323), SACK (RFC 2018).
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <hostloom/types.h>

namespace loom::tcp {

constexpr uint32_t kMaxOptionBytes = 40;
constexpr uint32_t kTimestampBytes = 12;  // the option with two NOPs in front (RFC 7323 appendix A)
constexpr uint16_t kMinMss = 88;          // of a peer or a socket: below, headers are all there is
constexpr uint8_t kMaxWscale = 14;        // RFC 7323 section 2.3

enum OptionBit : uint8_t {
  kOptMss = 1,
  kOptWscale = 2,
  kOptSackPermitted = 4,
  kOptTimestamps = 8,
};

struct SackBlock {
  Seq start;  // left edge, first byte that was received
  Seq end;    // right edge, one behind the last
};

// Why the rest of a header's options cannot be read (RFC 9293 MUST-7).
enum class OptionFault : uint8_t {
  kNone,
  kLength,   // below the two bytes of kind and length
  kOverrun,  // beyond the header
};

struct Options {
  uint8_t present = 0;  // OptionBits
  uint8_t ignored = 0;  // known kinds that came with a wrong length, or a second time
  uint8_t wscale = 0;
  uint8_t n_sack = 0;
  uint16_t mss = 0;
  uint32_t tsval = 0;
  uint32_t tsecr = 0;
  std::array<SackBlock, 4> sack{};

  bool has(uint8_t bit) const noexcept { return present & bit; }
};

// Reads the option bytes of a header. Unknown kinds are skipped (RFC 9293 MUST-6); a known kind
// with a length that is not its own, or that came before, is skipped and counted in `ignored`. With
// a fault `out` holds what came before it.
OptionFault parse_options(std::span<const std::byte> bytes, Options& out) noexcept;

// The bytes that write_options takes for `o`, a multiple of 4 and at most 40; SACK blocks that do
// not fit are not counted and not written.
uint32_t options_size(const Options& o) noexcept;
void write_options(std::byte* at, const Options& o) noexcept;

}  // namespace loom::tcp
