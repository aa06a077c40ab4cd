// Headers of outgoing datagrams, and the nodes that take them to the IP layer.
//
// Nodes "udp4-output" and "udp6-output":
//   in    datagrams made in this folder, at the IP header, or what is left of those that cannot be
//         sent; the verdict in opaque
//   out   ipN-rewrite (the way is known) | ipN-lookup | ip6-fragment | drop
//   cost  a counter and a next index; the headers were written while they were in the cache
#include "output.h"

#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

namespace loom::udp {
namespace {
constexpr CounterInfo kCounters[] = {
    {"sent", Severity::kInfo, "datagrams sent"},
    {"no-destination", Severity::kError, "no address was named, and the session has no peer"},
    {"no-route", Severity::kWarn, "no way to the destination; the application is told"},
    {"other-family", Severity::kError, "IPv6 from an IPv4 socket, or IPv4 from one for IPv6 only"},
    {"not-broadcast", Severity::kWarn,
     "to a broadcast address by a socket without SO_BROADCAST; the application is told"},
    {"too-long", Severity::kError, "longer than an IP packet can be; the application is told"},
    {"fragmented", Severity::kInfo,
     "IPv6, bigger than a router says the path takes: sent in fragments"},
    {"too-big", Severity::kInfo,
     "bigger than the path takes, and not to be fragmented; the application is told"},
    {"looped-only", Severity::kInfo, "to a group, with a time to live of 0: stays in this host"},
};
static_assert(std::size(kCounters) == static_cast<std::size_t>(Sent::kCount));

enum Next : uint16_t { kToDrop, kToLookup, kToRewrite, kToFragment };

struct Trace {
  uint32_t length;
  uint8_t verdict;
};
void format_trace(const void* record, std::string& out) {
  const auto& r = *static_cast<const Trace*>(record);
  out += std::string(kCounters[r.verdict].name) + " length " + std::to_string(r.length);
}

void udp_output(Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, std::size(kCounters)> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch();
    Buffer& b = *in[i];
    const auto verdict = static_cast<uint8_t>(b.opaque[0]);
    ++counts[verdict];
    if (verdict == static_cast<uint8_t>(Sent::kSent)) [[likely]] {
      next[i] = b.adjacency == kNoIndex ? kToLookup : kToRewrite;
    } else if (verdict == static_cast<uint8_t>(Sent::kFragmented)) {
      std::memmove(b.opaque, b.opaque + kMtuAt, sizeof(uint32_t));  // where ip6-fragment looks
      next[i] = kToFragment;
    } else {
      rt.set_error(b, verdict);
      next[i] = kToDrop;
    }
    if (b.is_traced()) [[unlikely]]
      if (auto* r = rt.trace<Trace>(b)) *r = {b.length(), verdict};
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

// The checksum field: the pseudo-header's sum for whoever finishes it, or the whole.
template <class Address>
void set_checksum(Buffer& b, UdpHeader& udp, const Address& local, const Address& remote,
                  bool offload) noexcept {
  const ChecksumSum pseudo = pseudo_header_sum(local, remote, kProtoUdp, b.length());
  if (offload) {
    udp.checksum = checksum_fold(pseudo);
    b.flags |= kBufferTxUdpChecksum;
    return;
  }
  const uint16_t sum = checksum_finish(checksum_add_chain(pseudo, &b, 0, b.length()));
  udp.checksum = sum ? sum : 0xffff;  // zero means "none" (RFC 768)
}
}  // namespace

void push_headers(UdpWorker& u, Buffer& b, const Way& way, uint8_t tos, uint8_t ttl) noexcept {
  const Endpoints& e = way.ends;
  auto& udp = *b.prepend<UdpHeader>();
  udp.src_port = e.local_port;
  udp.dst_port = e.remote_port;
  udp.length = static_cast<uint16_t>(b.length());
  udp.checksum = 0;
  b.fib_index = e.fib_index;
  b.adjacency = way.adjacency;
  b.tx_if = way.tx_if;
  if (e.remote.is_ip4) {
    set_checksum(b, udp, e.local.ip4(), e.remote.ip4(), u.config.csum_offload);
    // A fragment's id must not come again soon (RFC 6864 section 4.2).
    const auto id = static_cast<uint16_t>(way.may_fragment ? u.w.random() : 0);
    auto& ip = push_ip4_header(b, e.local.ip4(), e.remote.ip4(), kProtoUdp, tos, id, ttl);
    if (way.may_fragment) {
      ip.flags_fragment = 0;
      ip.checksum = 0;
      ip.checksum = ip4_header_checksum(ip);
    }
  } else {
    if (!way.no_checksum) [[likely]]
      set_checksum(b, udp, e.local.ip6(), e.remote.ip6(), u.config.csum_offload);
    push_ip6_header(b, e.local.ip6(), e.remote.ip6(), kProtoUdp, tos, 0, ttl);
  }
}

const NodeInfo kUdp4Output{.name = "udp4-output",
                           .run = udp_output,
                           .counters = kCounters,
                           .next = {"drop", "ip4-lookup", "ip4-rewrite"},
                           .trace_format = format_trace};
const NodeInfo kUdp6Output{.name = "udp6-output",
                           .run = udp_output,
                           .counters = kCounters,
                           .next = {"drop", "ip6-lookup", "ip6-rewrite", "ip6-fragment"},
                           .trace_format = format_trace};

}  // namespace loom::udp
