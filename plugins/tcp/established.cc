// Nodes "tcp4-established" and "tcp6-established": the hot loop.
//   in    segments of connections in ESTABLISHED, from tcpN-input
//   out   none (text goes to the session's fifo) | drop; acknowledgements leave by tcpN-output
//   cost  the copy into the fifo dominates bulk data; one acknowledgement per connection and frame
#include "rematch.h"

namespace loom::tcp {
namespace {
void established(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  run_segments(w, rt, in, [](TcpWorker& t, Buffer& b) noexcept {
    const Segment s = segment_of(b);
    Options o;
    if (const auto f = options_of(t, b, s, o); f != OptionFault::kNone) [[unlikely]]
      return counter_of(f);
    Connection* c = t.connections.find(b.session);
    if (!c || !c->is_alive()) [[unlikely]]
      return rematch(t, b, s, o);
    return segment_arrives(t, *c, b, s, o);
  });
}
}  // namespace

const NodeInfo kTcp4Established{.name = "tcp4-established",
                                .run = established,
                                .counters = kRxCounters,
                                .next = {"drop"},
                                .trace_format = format_rx_trace};
const NodeInfo kTcp6Established{.name = "tcp6-established",
                                .run = established,
                                .counters = kRxCounters,
                                .next = {"drop"},
                                .trace_format = format_rx_trace};

}  // namespace loom::tcp
