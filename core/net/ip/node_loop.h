// The loop of the nodes that decide packet by packet: written once, for every node and both
// versions.
#pragma once
#include <hostloom/node.h>

#include "net/ip/ip_trace.h"
#include "net/state.h"

namespace loom {

// Index 0 leads to "drop" in every node that uses the loop, so that an empty entry of a table of
// next indices (add_ip_protocol, add_icmp_error_handler) is recognised.
constexpr uint16_t kNextDrop = 0;

// What a decision may look at beside its packet. The loop makes one per frame.
struct NodeContext {
  Worker& w;
  NetState& net;
  NodeRuntime& rt;
};

enum LoopFlags : unsigned {
  kLoopPlain = 0,
  kLoopPrefetch = 1,     // nobody has touched the packets' headers yet
  kLoopTraceBefore = 2,  // traced as it comes: the decision moves the data
  kLoopTraceAfter = 4,   // traced with what the decision found; the data stays at the IP header
};

// A node's function. kDecide(const NodeContext&, Buffer&) returns a Verdict: the next index, the
// feature arc that begins here already taken into account, and the one of kCounterCount counters
// that the packet lands in. Ip (V4 or V6) says what a trace shows.
template <auto kDecide, std::size_t kCounterCount, unsigned kFlags = kLoopPlain, class Ip = void>
void decide_each(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  const NodeContext context{w, net_state(w), rt};
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};  // local: shared ones are touched once per frame
  for (std::size_t i = 0; i < in.size(); ++i) {
    if constexpr ((kFlags & kLoopPrefetch) != 0)
      if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch_data();
    Buffer& b = *in[i];
    if constexpr ((kFlags & kLoopTraceBefore) != 0)
      if (b.is_traced()) [[unlikely]]
        trace_ip<Ip>(rt, b);
    const auto verdict = kDecide(context, b);
    next[i] = verdict.next;
    ++counts[verdict.counter];
    if (verdict.next == kNextDrop) [[unlikely]]
      rt.set_error(b, verdict.counter);
    if constexpr ((kFlags & kLoopTraceAfter) != 0)
      if (b.is_traced()) [[unlikely]]
        trace_ip<Ip>(rt, b);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace loom
