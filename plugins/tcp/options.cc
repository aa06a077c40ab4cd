// Parsing and writing of TCP options; see options.h.
#include "options.h"

#include <algorithm>
#include <cstring>

namespace loom::tcp {
namespace {
enum Kind : uint8_t {
  kEnd = 0,
  kNop = 1,
  kMss = 2,
  kWscale = 3,
  kSackPermitted = 4,
  kSack = 5,
  kTimestamps = 8,
};

uint32_t read32(const std::byte* p) noexcept {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return byteswap(v);
}
void write32(std::byte* p, uint32_t v) noexcept {
  v = byteswap(v);
  std::memcpy(p, &v, 4);
}

// One option with its length checked against the header; value: the bytes behind kind and length.
// False: a known kind that is ignored.
bool read_option(uint8_t kind, std::span<const std::byte> value, Options& out) noexcept {
  // Only the first of a kind, with its own length.
  const auto is_good = [&](uint8_t bit, std::size_t size) {
    if (value.size() != size || out.has(bit)) return false;
    out.present |= bit;
    return true;
  };
  switch (kind) {
    case kMss:
      if (!is_good(kOptMss, 2)) return false;
      out.mss = static_cast<uint16_t>(static_cast<unsigned>(value[0]) << 8 |
                                      static_cast<unsigned>(value[1]));
      return true;
    case kWscale:
      if (!is_good(kOptWscale, 1)) return false;
      // RFC 7323 section 2.3: a larger count is used as 14.
      out.wscale = std::min(static_cast<uint8_t>(value[0]), kMaxWscale);
      return true;
    case kSackPermitted:
      return is_good(kOptSackPermitted, 0);
    case kTimestamps:
      if (!is_good(kOptTimestamps, 8)) return false;
      out.tsval = read32(value.data());
      out.tsecr = read32(value.data() + 4);
      return true;
    case kSack:
      if (value.empty() || value.size() % 8 != 0 || out.n_sack != 0) return false;
      for (; value.size() >= 8 && out.n_sack < out.sack.size(); value = value.subspan(8))
        out.sack[out.n_sack++] = {Seq(read32(value.data())), Seq(read32(value.data() + 4))};
      return true;
    default:
      return true;
  }
}

// NOP NOP Timestamps and nothing else: what nearly every segment of a connection carries.
constexpr uint32_t kOnlyTimestamps = uint32_t{kNop} << 24 | kNop << 16 | kTimestamps << 8 | 10;
}  // namespace

OptionFault parse_options(std::span<const std::byte> bytes, Options& out) noexcept {
  if (bytes.size() == kTimestampBytes && read32(bytes.data()) == kOnlyTimestamps) [[likely]] {
    out.tsval = read32(bytes.data() + 4);
    out.tsecr = read32(bytes.data() + 8);
    out.present = kOptTimestamps;
    return OptionFault::kNone;
  }
  while (!bytes.empty()) {
    const auto kind = static_cast<uint8_t>(bytes[0]);
    if (kind == kEnd) return OptionFault::kNone;
    if (kind == kNop) {
      bytes = bytes.subspan(1);
      continue;
    }
    if (bytes.size() < 2) return OptionFault::kOverrun;
    const auto length = static_cast<std::size_t>(bytes[1]);
    if (length < 2) return OptionFault::kLength;
    if (length > bytes.size()) return OptionFault::kOverrun;
    if (!read_option(kind, bytes.subspan(2, length - 2), out)) ++out.ignored;
    bytes = bytes.subspan(length);
  }
  return OptionFault::kNone;
}

namespace {
// Fixed options, each padded to a multiple of 4, so that blocks and timestamps lie aligned.
uint32_t fixed_size(const Options& o) noexcept {
  return (o.has(kOptMss) ? 4 : 0) + (o.has(kOptWscale) ? 4 : 0) +
         (o.has(kOptSackPermitted) && !o.has(kOptTimestamps) ? 4 : 0) +
         (o.has(kOptTimestamps) ? kTimestampBytes : 0);
}
uint32_t sack_count(const Options& o) noexcept {
  const uint32_t room = kMaxOptionBytes - fixed_size(o);
  return room < 12 ? 0 : std::min<uint32_t>(o.n_sack, (room - 4) / 8);
}
}  // namespace

uint32_t options_size(const Options& o) noexcept {
  const uint32_t n = sack_count(o);
  return fixed_size(o) + (n ? 4 + 8 * n : 0);
}

void write_options(std::byte* at, const Options& o) noexcept {
  const auto word = [&at](uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    write32(at, uint32_t{a} << 24 | uint32_t{b} << 16 | uint32_t{c} << 8 | d);
    at += 4;
  };
  if (o.has(kOptMss)) word(kMss, 4, static_cast<uint8_t>(o.mss >> 8), static_cast<uint8_t>(o.mss));
  if (o.has(kOptTimestamps)) {
    if (o.has(kOptSackPermitted))
      word(kSackPermitted, 2, kTimestamps, 10);  // shares the word that NOPs would fill
    else
      word(kNop, kNop, kTimestamps, 10);
    write32(at, o.tsval);
    write32(at + 4, o.tsecr);
    at += 8;
  } else if (o.has(kOptSackPermitted)) {
    word(kNop, kNop, kSackPermitted, 2);
  }
  if (o.has(kOptWscale)) word(kNop, kWscale, 3, o.wscale);
  if (const uint32_t n = sack_count(o)) {
    word(kNop, kNop, kSack, static_cast<uint8_t>(2 + 8 * n));
    for (uint32_t i = 0; i < n; ++i, at += 8) {
      write32(at, o.sack[i].start.raw());
      write32(at + 4, o.sack[i].end.raw());
    }
  }
}

}  // namespace loom::tcp
