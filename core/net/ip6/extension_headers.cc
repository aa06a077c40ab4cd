#include "net/ip6/extension_headers.h"

namespace loom {
namespace {

constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kNoNext = 59,
                  kDestinationOptions = 60;
constexpr uint8_t kPad1 = 0, kPadN = 1;

bool is_extension_header(uint8_t type) noexcept {
  return type == kHopByHop || type == kRouting || type == kFragmentHeader ||
         type == kDestinationOptions;
}
// Of the header at `bytes`, of which 8 are there.
uint32_t size_of(uint8_t type, const uint8_t* bytes) noexcept {
  return type == kFragmentHeader ? 8 : (bytes[1] + 1u) * 8;
}

// The options of one header at `at`, `size` bytes with its two fixed ones (RFC 8200 section 4.2).
void check_options(const Buffer& b, uint32_t at, uint32_t size, bool is_multicast,
                   Ip6WalkResult& r) noexcept {
  const auto* bytes = reinterpret_cast<const uint8_t*>(b.data);
  const uint32_t end = at + size;
  for (uint32_t i = at + 2; i < end;) {
    const uint8_t type = bytes[i];
    if (type == kPad1) {
      ++i;
      continue;
    }
    if (end - i < 2 || bytes[i + 1] > end - i - 2) {
      r.verdict = Ip6Walk::kOptionOverrun;
      return;
    }
    const uint8_t action = type >> 6;
    if (type != kPadN && action != 0) {
      r.verdict = Ip6Walk::kRefusedOption;
      r.is_answered = action == 2 || (action == 3 && !is_multicast);
      r.code = 2;
      r.pointer = i;
      return;
    }
    i += 2u + bytes[i + 1];
  }
}

}  // namespace

Ip6WalkResult walk_extension_headers(Buffer& b) noexcept {
  const auto* bytes = reinterpret_cast<const uint8_t*>(b.data);
  const auto& ip = *b.peek<Ip6Header>();
  const bool is_multicast = ip.dst.is_multicast();
  Ip6WalkResult r{.protocol = ip.next_header,
                  .header_bytes = sizeof(Ip6Header),
                  .next_header_field = offsetof(Ip6Header, next_header)};
  const auto stop = [&r](Ip6Walk why) {
    r.verdict = why;
    return r;
  };
  for (uint32_t n = 0;; ++n) {
    const uint8_t type = r.protocol;
    if (type == kNoNext) return stop(Ip6Walk::kNoNextHeader);
    if (!is_extension_header(type)) return r;
    if (n == kMaxExtensionHeaders) return stop(Ip6Walk::kTooMany);
    const uint32_t at = r.header_bytes;
    if (b.len < at + 8) return stop(Ip6Walk::kTooShort);
    const uint32_t size = size_of(type, bytes + at);
    if (b.len < at + size) return stop(Ip6Walk::kOverrun);
    switch (type) {
      case kHopByHop:
        if (n != 0) {  // RFC 8200 section 4.1: only behind the IPv6 header itself
          r.is_answered = true;
          r.code = 1;
          r.pointer = r.next_header_field;
          return stop(Ip6Walk::kMisplacedHopByHop);
        }
        [[fallthrough]];
      case kDestinationOptions:
        check_options(b, at, size, is_multicast, r);
        if (r.verdict != Ip6Walk::kOk) return r;
        break;
      // RFC 8200 section 4.4, and RFC 5095 section 3 for type 0: skipped without segments left
      case kRouting:
        if (bytes[at + 3] != 0) {
          r.is_answered = true;
          r.code = 0;
          r.pointer = at + 2;
          return stop(Ip6Walk::kRoutingHeader);
        }
        break;
      case kFragmentHeader:  // one that is the whole packet is let through (RFC 6946)
        if (((bytes[at + 2] << 8 | bytes[at + 3]) & 0xfff9) != 0) return stop(Ip6Walk::kFragment);
        break;
    }
    r.protocol = bytes[at];
    r.next_header_field = at;
    r.header_bytes = at + size;
  }
}

bool has_fragment_header(const Ip6Header& ip, uint32_t header_bytes) noexcept {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&ip);
  uint8_t type = ip.next_header;
  for (uint32_t at = sizeof(Ip6Header); at + 8 <= header_bytes;) {
    if (type == kFragmentHeader) return true;
    const uint32_t size = size_of(type, bytes + at);
    type = bytes[at];
    at += size;
  }
  return false;
}

Ip6UpperLayer find_upper_layer(Buffer& b) noexcept {
  const auto* bytes = reinterpret_cast<const uint8_t*>(b.data);
  Ip6UpperLayer up{.protocol = b.peek<Ip6Header>()->next_header, .at = sizeof(Ip6Header)};
  for (uint32_t n = 0; is_extension_header(up.protocol); ++n) {
    if (n == kMaxExtensionHeaders || b.len < up.at + 8) return up;
    const uint8_t type = up.protocol;
    const bool is_later =
        type == kFragmentHeader && ((bytes[up.at + 2] << 8 | bytes[up.at + 3]) & 0xfff8) != 0;
    up.protocol = bytes[up.at];
    up.at += size_of(type, bytes + up.at);
    if (is_later) return up;
  }
  up.is_visible = up.at < b.len;
  return up;
}

}  // namespace loom
