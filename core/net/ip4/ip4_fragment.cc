// Node "ip4-fragment": splits packets that are too big and may be split (RFC 791 section 2.3).
//   in    from ip4-rewrite: data at the IP header, adjacency set, DF clear, the MTU in opaque
//   out   ip4-rewrite (the fragments, the packet's own buffers are freed) | drop
#include <hostloom/checksum.h>

#include "buffer/chain.h"
#include "net/ip4/nodes.h"
#include "net/offload/tx_checksum.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToRewrite };
enum Counter : uint16_t { kFragmented, kNoBuffer, kTooShort, kMtuTooSmall, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"fragmented", Severity::kInfo, "packets sent as fragments"},
    {"no-buffer", Severity::kWarn, "no buffers for the fragments"},
    {"too-short", Severity::kError, "no valid header"},
    {"mtu-too-small", Severity::kError, "not 8 bytes of payload fit beside the header"},
};
constexpr uint16_t kMoreFragments = 0x2000, kOffsetMask = 0x1fff;

// One fragment: a copy of the header and `n` bytes of payload from `at`.
Buffer* make_one(Worker& w, const Buffer& packet, const Ip4Header& ip, uint32_t at, uint32_t n,
                 bool is_last) {
  Buffer* b = w.alloc();
  if (!b) return nullptr;
  const uint32_t header = ip.header_length();
  std::memcpy(b->append(header), &ip, header);
  for (uint32_t done = 0; done < n;) {
    std::array<std::byte, 2048> piece;
    const uint32_t want = std::min<uint32_t>(n - done, piece.size());
    if (chain_copy_out(packet, header + at + done, {piece.data(), want}) != want ||
        !chain_append(w, *b, {piece.data(), want})) {
      w.free(b);
      return nullptr;
    }
    done += want;
  }
  auto& out = *b->peek<Ip4Header>();
  const uint16_t before = ip.flags_fragment;
  out.flags_fragment = static_cast<uint16_t>(((before & kOffsetMask) + at / 8) |
                                             (is_last ? before & kMoreFragments : kMoreFragments));
  out.total_length = static_cast<uint16_t>(header + n);
  out.checksum = 0;
  out.checksum = ip4_header_checksum(out);
  b->adjacency = packet.adjacency;
  b->fib_index = packet.fib_index;
  b->rx_if = packet.rx_if;
  b->flags = kBufferLocallyOriginated;
  return b;
}

Counter split(Worker& w, NodeRuntime& rt, Buffer& b) {
  uint32_t mtu;
  std::memcpy(&mtu, b.opaque, sizeof mtu);
  const auto* ip = b.peek<Ip4Header>();
  if (!ip || ip->header_length() < sizeof(Ip4Header) || ip->header_length() > b.len)
    return kTooShort;
  const uint32_t header = ip->header_length(), payload = b.length() - header;
  if (mtu < header + 8) return kMtuTooSmall;
  // A fragment cannot ask a device for the checksum of the whole.
  if (b.flags & (kBufferTxIp4Checksum | kBufferTxL4Checksum) && !finish_tx_checksums(b))
    return kTooShort;
  const uint32_t most = (mtu - header) & ~7u;
  std::array<Buffer*, kFrameSize> out;
  std::size_t n = 0;
  for (uint32_t at = 0; at < payload; at += most) {
    const uint32_t size = std::min(most, payload - at);
    Buffer* f = n < out.size() ? make_one(w, b, *ip, at, size, at + size == payload) : nullptr;
    if (!f) {
      w.free({out.data(), n});
      return kNoBuffer;
    }
    out[n++] = f;
  }
  rt.enqueue_all({out.data(), n}, kToRewrite);
  return kFragmented;
}

void ip4_fragment(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  for (Buffer* b : in) {
    const Counter counter = split(w, rt, *b);
    rt.count(counter);
    if (counter == kFragmented) {
      w.free(b);
      continue;
    }
    rt.set_error(*b, counter);
    rt.enqueue_all({&b, 1}, kToDrop);
  }
}

}  // namespace

const NodeInfo kIp4Fragment{.name = "ip4-fragment",
                            .run = ip4_fragment,
                            .counters = kCounters,
                            .next = {"drop", "ip4-rewrite"}};

}  // namespace loom
