// Headers of outgoing segments, and the nodes that take them to the IP layer.
//
// Nodes "tcp4-output" and "tcp6-output":
//   in    complete packets made in this folder, at the IP header
//   out   ip4-rewrite (the connection knows its adjacency) | ip4-lookup
//   cost  a counter and a next index; the headers were written while they were in the cache
#include <hostloom/ip_push.h>

#include "output.h"

namespace loom::tcp {
namespace {
constexpr CounterInfo kCounters[] = {
    {"data", Severity::kInfo, "segments with new data"},
    {"ack", Severity::kInfo, "pure acknowledgements"},
    {"syn", Severity::kInfo, "SYNs, their retransmissions included"},
    {"syn-ack", Severity::kInfo, "SYN-ACKs, their retransmissions included"},
    {"fin", Severity::kInfo, "FINs without data"},
    {"rst", Severity::kInfo, "resets"},
    {"retransmit", Severity::kInfo, "chains sent again after a timeout"},
    {"fast-retransmit", Severity::kInfo, "chains sent again in fast recovery"},
    {"window-probe", Severity::kInfo, "probes of a zero window"},
    {"keepalive", Severity::kInfo, "keepalive probes"},
};
static_assert(std::size(kCounters) == static_cast<std::size_t>(SegmentKind::kCount));

enum Next : uint16_t { kToLookup, kToRewrite };

struct Trace {
  uint32_t length;
  uint16_t gso_size;
  uint8_t kind;
};
void format_trace(const void* record, std::string& out) {
  const auto& r = *static_cast<const Trace*>(record);
  out += std::string(kCounters[r.kind].name) + " length " + std::to_string(r.length) + " gso " +
         std::to_string(r.gso_size);
}

void tcp_output(Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, std::size(kCounters)> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch();
    Buffer& b = *in[i];
    const auto kind = static_cast<uint8_t>(b.opaque[0]);
    ++counts[kind];
    next[i] = b.adjacency == kNoIndex ? kToLookup : kToRewrite;
    if (b.is_traced()) [[unlikely]]
      if (auto* r = rt.trace<Trace>(b)) *r = {b.length(), b.gso_size, kind};
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

// The checksum field: the pseudo-header's sum for whoever finishes it, or the whole.
template <class Address>
void set_checksum(Buffer& b, TcpHeader& tcp, const Address& local, const Address& remote,
                  bool offload) noexcept {
  const ChecksumSum pseudo = pseudo_header_sum(local, remote, kProtoTcp, b.length());
  if (offload || b.gso_size != 0) {  // segments differ: only who cuts them can sum them
    tcp.checksum = checksum_fold(pseudo);
    b.flags |= kBufferTxTcpChecksum;
  } else {
    tcp.checksum = checksum_finish(checksum_add_chain(pseudo, &b, 0, b.length()));
  }
}

// The way that the link says: ip-lookup would ask the routing table for what is not link-local. To
// this host itself there is none.
Outgoing by_link(TcpWorker& t, const Ends& e, Outgoing o) noexcept {
  RouteInfo route;
  if (find_route(t, e, &route) == Status::kOk && !route.is_local) {
    o.adjacency = route.adjacency;
    o.tx_if = route.tx_if;
  }
  return o;
}
}  // namespace

void transmit(TcpWorker& t, Buffer& b, const Ends& e, const Outgoing& o,
              const Options& options) noexcept {
  const uint32_t header = sizeof(TcpHeader) + options_size(options);
  auto& tcp = *reinterpret_cast<TcpHeader*>(b.prepend(header));
  tcp.src_port = e.local_port;
  tcp.dst_port = e.remote_port;
  tcp.seq = o.seq.raw();
  tcp.ack = o.ack.raw();
  tcp.data_offset = static_cast<uint8_t>(header << 2);
  tcp.flags = o.flags;
  tcp.window = o.window;
  tcp.checksum = 0;
  tcp.urgent = 0;
  write_options(reinterpret_cast<std::byte*>(&tcp + 1), options);
  b.gso_size = o.gso_size;
  b.fib_index = e.fib_index;
  b.adjacency = o.adjacency;
  b.tx_if = o.tx_if != kNoIndex ? o.tx_if : e.link;
  const bool offload = t.config.csum_offload;
  const uint8_t hops = o.hops ? o.hops : kDefaultTtl;
  if (e.local.is_ip4) {
    set_checksum(b, tcp, e.local.ip4(), e.remote.ip4(), offload);
    push_ip4_header(b, e.local.ip4(), e.remote.ip4(), kProtoTcp, o.tos, o.ip_id, hops);
  } else {
    set_checksum(b, tcp, e.local.ip6(), e.remote.ip6(), offload);
    push_ip6_header(b, e.local.ip6(), e.remote.ip6(), kProtoTcp, o.tos, 0, hops);
  }
  b.opaque[0] = static_cast<std::byte>(o.kind);
  t.emit(b, e.local.is_ip4);
}

void transmit_empty(TcpWorker& t, const Ends& e, const Outgoing& o,
                    const Options& options) noexcept {
  Buffer* b = t.w.alloc();
  if (!b) {
    ++t.stats.no_buffer;
  } else if (e.link != kNoIndex && o.adjacency == kNoIndex) [[unlikely]] {
    transmit(t, *b, e, by_link(t, e, o), options);
  } else {
    transmit(t, *b, e, o, options);
  }
}

const NodeInfo kTcp4Output{.name = "tcp4-output",
                           .run = tcp_output,
                           .counters = kCounters,
                           .next = {"ip4-lookup", "ip4-rewrite"},
                           .trace_format = format_trace};
const NodeInfo kTcp6Output{.name = "tcp6-output",
                           .run = tcp_output,
                           .counters = kCounters,
                           .next = {"ip6-lookup", "ip6-rewrite"},
                           .trace_format = format_trace};

}  // namespace loom::tcp
