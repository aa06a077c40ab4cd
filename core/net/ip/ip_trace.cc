#include "net/ip/ip_trace.h"

namespace loom {
namespace {

template <class Ip>
struct Record {
  typename Ip::Header ip;
  uint32_t adjacency;
  uint32_t fib_index;
  bool has_header;
};

std::string fields(const Ip4Header& ip) {
  return " protocol " + std::to_string(ip.protocol) + " ttl " + std::to_string(ip.ttl) +
         " length " + std::to_string(ip.total_length);
}
std::string fields(const Ip6Header& ip) {
  return " next header " + std::to_string(ip.next_header) + " hop limit " +
         std::to_string(ip.hop_limit) + " payload " + std::to_string(ip.payload_length);
}

}  // namespace

template <class Ip>
void trace_ip(NodeRuntime& rt, Buffer& b) noexcept {
  auto* r = rt.trace<Record<Ip>>(b);
  if (!r) return;
  const auto* ip = b.peek<typename Ip::Header>();
  *r = {};
  r->has_header = ip != nullptr;
  if (ip) r->ip = *ip;
  r->adjacency = b.adjacency;
  r->fib_index = b.fib_index;
}

template <class Ip>
void format_ip_trace(const void* record, std::string& out) {
  const auto& r = *static_cast<const Record<Ip>*>(record);
  if (!r.has_header) {
    out += "no header";
    return;
  }
  out += r.ip.src.str() + " -> " + r.ip.dst.str() + fields(r.ip) + " fib " +
         std::to_string(r.fib_index);
  if (r.adjacency != kNoIndex) out += " adjacency " + std::to_string(r.adjacency);
}

template void trace_ip<V4>(NodeRuntime&, Buffer&) noexcept;
template void trace_ip<V6>(NodeRuntime&, Buffer&) noexcept;
template void format_ip_trace<V4>(const void*, std::string&);
template void format_ip_trace<V6>(const void*, std::string&);

}  // namespace loom
