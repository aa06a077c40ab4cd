// Nodes "tcp4-reset" and "tcp6-reset": segments that belong to no connection.
//   in    segments that no lookup matched, from tcpN-input
//   out   none | drop; the resets leave by tcpN-output
#include "reset.h"

#include <hostloom/wire.h>

#include "frame_end.h"
#include "output.h"

namespace loom::tcp {
namespace {
enum Counter : uint16_t { kAnswered, kIgnoredReset, kBadAddress, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"answered", Severity::kInfo, "segments for nobody, answered by RST"},
    {"ignored-reset", Severity::kInfo, "resets for nobody"},
    {"bad-address", Severity::kWarn, "from or to an address that no connection can have"},
};

void tcp_reset(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  FrameEnd<kCounterCount> frame(w, rt);
  for (Buffer* b : in) {
    Ends ends;
    if (!endpoints_of(*b, ends))
      frame.end(*b, kBadAddress);
    else
      frame.end(*b, answer_by_reset(t, ends, segment_of(*b)) ? kAnswered : kIgnoredReset);
  }
}
}  // namespace

bool is_unicast(const IpAddress& a) noexcept {
  if (a.is_zero()) return false;
  if (!a.is_ip4) return !a.ip6().is_multicast();
  return !a.ip4().is_multicast() && !a.ip4().is_broadcast();
}

bool endpoints_of(Buffer& b, Ends& out) noexcept {
  const auto& tcp = *b.peek<TcpHeader>();
  out.local_port = tcp.dst_port;
  out.remote_port = tcp.src_port;
  out.fib_index = b.fib_index;
  const auto* first = b.at<Ip4Header>(b.l3_offset);
  if (first->version() == 4) {
    out.local = first->dst;
    out.remote = first->src;
  } else {
    const auto& ip = *b.at<Ip6Header>(b.l3_offset);
    out.local = ip.dst;
    out.remote = ip.src;
    if (is_link_local(out.local) || is_link_local(out.remote)) out.link = link_of(b);
  }
  return is_unicast(out.local) && is_unicast(out.remote);
}

bool answer_by_reset(TcpWorker& t, const Ends& ends, const Segment& s) noexcept {
  if (s.has(kRst)) return false;
  Outgoing o{.kind = SegmentKind::kRst};
  if (s.has(kAck)) {
    o.seq = s.ack;
    o.flags = kRst;
  } else {
    o.ack = s.end();
    o.flags = kRst | kAck;
  }
  transmit_empty(t, ends, o, {});
  return true;
}

const NodeInfo kTcp4Reset{
    .name = "tcp4-reset", .run = tcp_reset, .counters = kCounters, .next = {"drop"}};
const NodeInfo kTcp6Reset{
    .name = "tcp6-reset", .run = tcp_reset, .counters = kCounters, .next = {"drop"}};

}  // namespace loom::tcp
