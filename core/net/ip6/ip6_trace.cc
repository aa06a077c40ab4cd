#include "net/ip6/ip6_trace.h"

#include <hostloom/wire.h>

namespace loom {
namespace {
struct Record {
  Ip6Header ip;
  uint32_t adjacency;
  uint32_t fib_index;
  bool has_header;
};
}  // namespace

void trace_ip6(NodeRuntime& rt, Buffer& b) noexcept {
  auto* r = rt.trace<Record>(b);
  if (!r) return;
  const auto* ip = b.peek<Ip6Header>();
  *r = {};
  r->has_header = ip != nullptr;
  if (ip) r->ip = *ip;
  r->adjacency = b.adjacency;
  r->fib_index = b.fib_index;
}

void format_ip6_trace(const void* record, std::string& out) {
  const auto& r = *static_cast<const Record*>(record);
  if (!r.has_header) {
    out += "no header";
    return;
  }
  out += r.ip.src.str() + " -> " + r.ip.dst.str() + " next header " +
         std::to_string(r.ip.next_header) + " hop limit " + std::to_string(r.ip.hop_limit) +
         " payload " + std::to_string(r.ip.payload_length) + " fib " + std::to_string(r.fib_index);
  if (r.adjacency != kNoIndex) out += " adjacency " + std::to_string(r.adjacency);
}

}  // namespace loom
