// Node "ip6-fragment": splits this host's own packets that are too big for the path; nobody else
// may split them (RFC 8200 sections 4.5 and 5).
//   in    from ip6-rewrite, or from a transport that knows the path's MTU: data at the IPv6 header,
//         the MTU in opaque, adjacency set or kNoIndex
//   out   ip6-rewrite or ip6-lookup (the fragments, the packet's own buffers are freed) | drop
//   cost  each byte is copied once
#include "net/ip/fragments.h"
#include "net/ip6/fragment_header.h"
#include "net/ip6/nodes.h"
#include "net/offload/tx_checksum.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToRewrite, kToLookup };
enum Counter : uint16_t {
  kFragmented,
  kNoBuffer,
  kTooLong,
  kBadHeader,
  kBadMtu,
  kBadL4Offset,
  kExtensionHeaders,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"fragmented", Severity::kInfo, "packets sent as fragments"},
    {"no-buffer", Severity::kWarn, "no buffers for the fragments"},
    {"too-long", Severity::kError, "more payload than an IPv6 packet can have"},
    {"bad-header", Severity::kError, "no whole IPv6 header in the first segment, or no more"},
    {"bad-mtu", Severity::kError, "an MTU that no IPv6 link has, or not this host's own packet"},
    {"bad-l4-offset", Severity::kError, "a checksum to compute, but no header where it should be"},
    {"extension-headers", Severity::kError, "what headers stay in front is not known"},
};
constexpr uint32_t kMostPayload = 65'535;
constexpr uint32_t kHeaders = sizeof(Ip6Header) + sizeof(Ip6FragmentHeader);

// What stands between the IPv6 header and what is split.
bool has_extension_headers(const Ip6Header& ip) noexcept {
  constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestinationOptions = 60;
  return ip.next_header == kHopByHop || ip.next_header == kRouting || ip.next_header == kFragment ||
         ip.next_header == kDestinationOptions;
}

// One fragment: `n` bytes of payload from `at`.
Buffer* make_one(Worker& w, const Buffer& packet, const Ip6Header& ip, uint32_t id, uint32_t at,
                 uint32_t n, bool is_last) {
  Buffer* b = w.alloc();
  if (!b) return nullptr;
  auto& header = *reinterpret_cast<Ip6Header*>(b->append(sizeof(Ip6Header)));
  header = ip;
  header.payload_length = static_cast<uint16_t>(sizeof(Ip6FragmentHeader) + n);
  header.next_header = kIp6FragmentHeader;
  auto& fragment = *reinterpret_cast<Ip6FragmentHeader*>(b->append(sizeof(Ip6FragmentHeader)));
  fragment = {.next_header = ip.next_header,
              .reserved = 0,
              .offset_flags = static_cast<uint16_t>(is_last ? at : at | kIp6MoreFragments),
              .id = id};
  if (!append_payload(w, *b, packet, sizeof(Ip6Header) + at, n)) {
    w.free(b);
    return nullptr;
  }
  describe_fragment(*b, packet, kBufferLocallyOriginated | kBufferIsIp6);
  return b;
}

// Not to be guessed from others that somebody has seen (RFC 7739 section 5.2).
uint32_t next_id(NetWorker& w) noexcept {
  const uint64_t count = w.fragments_sent++;
  return static_cast<uint32_t>(siphash24(w.fragment_ids, {&count, 1}));
}

Counter split(Worker& w, NodeRuntime& rt, Buffer& b) {
  uint32_t mtu;
  std::memcpy(&mtu, b.opaque, sizeof mtu);
  const auto* ip = b.peek<Ip6Header>();
  if (!ip) return kBadHeader;
  if (mtu < kIp6LeastMtu || !(b.flags & kBufferLocallyOriginated) || b.gso_size) return kBadMtu;
  if (has_extension_headers(*ip)) return kExtensionHeaders;
  // A fragment cannot ask a device for the checksum of the whole.
  if (b.flags & kBufferTxL4Checksum && !finish_tx_checksums(b)) return kBadL4Offset;
  const uint32_t payload = b.length() - static_cast<uint32_t>(sizeof(Ip6Header));
  if (payload == 0) return kBadHeader;
  const uint32_t most = (mtu - kHeaders) & ~7u;
  std::array<Buffer*, kMostPayload / ((kIp6LeastMtu - kHeaders) & ~7u) + 1> out;
  if (payload > kMostPayload) return kTooLong;
  const uint32_t id = next_id(net_worker(w));
  const std::size_t n =
      cut_payload(w, payload, most, out, [&](uint32_t at, uint32_t size, bool is_last) {
        return make_one(w, b, *ip, id, at, size, is_last);
      });
  if (n == 0) return kNoBuffer;
  rt.enqueue_all({out.data(), n}, b.adjacency == kNoIndex ? kToLookup : kToRewrite);
  return kFragmented;
}

void ip6_fragment(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  fragment_all(w, rt, in, kFragmented, kToDrop, [&](Buffer& b) { return split(w, rt, b); });
}

}  // namespace

const NodeInfo kIp6Fragment{.name = "ip6-fragment",
                            .run = ip6_fragment,
                            .counters = kCounters,
                            .next = {"drop", "ip6-rewrite", "ip6-lookup"}};

}  // namespace loom
