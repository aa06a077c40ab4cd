// Node "ip4-fragment": splits packets that are too big and may be split (RFC 791 section 2.3).
//   in    from ip4-rewrite: data at the IP header, adjacency set, DF clear, the MTU in opaque
//   out   ip4-rewrite (the fragments, the packet's own buffers are freed) | drop
#include <hostloom/checksum.h>

#include "net/ip/fragments.h"
#include "net/ip4/nodes.h"
#include "net/offload/tx_checksum.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToRewrite };
enum Counter : uint16_t {
  kFragmented,
  kNoBuffer,
  kTooMany,
  kBadHeader,
  kBadL4Offset,
  kBadOffset,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"fragmented", Severity::kInfo, "packets sent as fragments"},
    {"no-buffer", Severity::kWarn, "no buffers for the fragments"},
    {"too-many", Severity::kWarn, "more than 256 fragments"},
    {"bad-header", Severity::kError, "no whole IP header in the first segment"},
    {"bad-l4-offset", Severity::kError, "a checksum to compute, but no header where it should be"},
    {"bad-offset", Severity::kError, "a fragment that ends beyond 65535 bytes"},
};
constexpr uint16_t kMoreFragments = 0x2000, kOffsetMask = 0x1fff;
constexpr uint32_t kMostBytes = 65'535;

constexpr uint32_t kMostHeader = 60;

// An IPv4 header with its options.
struct FragmentHeader {
  std::array<uint8_t, kMostHeader> bytes;
  uint32_t length;
};

// The header of every fragment but the first: of the options only those with the copied flag, and
// whole words (RFC 791 section 3.1). Options were checked by ip4-input or are this host's own; one
// that runs out of the header ends the copying.
FragmentHeader later_header(const Ip4Header& ip) noexcept {
  constexpr uint8_t kEnd = 0, kNop = 1, kCopied = 0x80;
  FragmentHeader h{.bytes = {}, .length = sizeof(Ip4Header)};
  const auto* from = reinterpret_cast<const uint8_t*>(&ip);
  std::memcpy(h.bytes.data(), from, sizeof(Ip4Header));
  const uint32_t end = ip.header_length();
  for (uint32_t i = sizeof(Ip4Header); i < end && from[i] != kEnd;) {
    if (from[i] == kNop) {
      ++i;
      continue;
    }
    if (end - i < 2 || from[i + 1] < 2 || from[i + 1] > end - i) break;
    const uint32_t size = from[i + 1];
    if (from[i] & kCopied) {
      std::memcpy(h.bytes.data() + h.length, from + i, size);
      h.length += size;
    }
    i += size;
  }
  h.length = (h.length + 3) & ~3u;  // what is left of the word is 0, the end of the options
  h.bytes[0] = static_cast<uint8_t>(0x40 | h.length / 4);
  return h;
}

// One fragment: the header `h` and `n` bytes of payload from `at`.
Buffer* make_one(Worker& w, const Buffer& packet, const Ip4Header& ip, const FragmentHeader& h,
                 uint32_t at, uint32_t n, bool is_last) {
  Buffer* b = w.alloc();
  if (!b) return nullptr;
  const uint32_t header = ip.header_length();
  std::memcpy(b->append(h.length), h.bytes.data(), h.length);
  if (!append_payload(w, *b, packet, header + at, n)) {
    w.free(b);
    return nullptr;
  }
  auto& out = *b->peek<Ip4Header>();
  const uint16_t before = ip.flags_fragment;
  out.flags_fragment = static_cast<uint16_t>(((before & kOffsetMask) + at / 8) |
                                             (is_last ? before & kMoreFragments : kMoreFragments));
  out.total_length = static_cast<uint16_t>(h.length + n);
  out.checksum = 0;
  out.checksum = ip4_header_checksum(out);
  describe_fragment(*b, packet, kBufferLocallyOriginated);
  return b;
}

Counter split(Worker& w, NodeRuntime& rt, Buffer& b) {
  uint32_t mtu;
  std::memcpy(&mtu, b.opaque, sizeof mtu);
  const auto* ip = b.peek<Ip4Header>();
  if (!ip || ip->header_length() < sizeof(Ip4Header) || ip->header_length() > b.len)
    return kBadHeader;
  const uint32_t header = ip->header_length(), payload = b.length() - header;
  // No link has an MTU below 68: 8 bytes of payload beside the longest header (RFC 791
  // section 3.2).
  LOOM_DCHECK(mtu >= header + 8);
  if ((ip->flags_fragment & kOffsetMask) * 8u + payload > kMostBytes) return kBadOffset;
  // A fragment cannot ask a device for the checksum of the whole.
  if (b.flags & (kBufferTxIp4Checksum | kBufferTxL4Checksum) && !finish_tx_checksums(b))
    return kBadL4Offset;
  const uint32_t most = (mtu - header) & ~7u;
  std::array<Buffer*, kFrameSize> out;
  if (payload > out.size() * most) return kTooMany;
  FragmentHeader first{.bytes = {}, .length = header};
  std::memcpy(first.bytes.data(), ip, header);
  const FragmentHeader later = later_header(*ip);
  const std::size_t n =
      cut_payload(w, payload, most, out, [&](uint32_t at, uint32_t size, bool is_last) {
        return make_one(w, b, *ip, at == 0 ? first : later, at, size, is_last);
      });
  if (n == 0) return kNoBuffer;
  rt.enqueue_all({out.data(), n}, kToRewrite);
  return kFragmented;
}

void ip4_fragment(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  fragment_all(w, rt, in, kFragmented, kToDrop, [&](Buffer& b) { return split(w, rt, b); });
}

}  // namespace

const NodeInfo kIp4Fragment{.name = "ip4-fragment",
                            .run = ip4_fragment,
                            .counters = kCounters,
                            .next = {"drop", "ip4-rewrite"}};

}  // namespace loom
