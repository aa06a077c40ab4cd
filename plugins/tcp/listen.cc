// Nodes "tcp4-listen" and "tcp6-listen": SYNs for listeners. RFC 9293 section 3.10.7.2.
//   in    segments that matched a listener only, from tcpN-input
//   out   none | drop; SYN-ACKs leave by tcpN-output
#include "listen.h"

#include "half_open.h"
#include "rematch.h"
#include "reset.h"

namespace loom::tcp {
namespace {
enum Counter : uint16_t {
  kSynAnswered,
  kRepeated,
  kNotSyn,
  kIgnoredReset,
  kBacklogFull,
  kNoMemory,
  kNoRoute,
  kBadAddress,
  kOptionLength,
  kOptionOverrun,
  kUnlistened,
  kHandedOff,
  kOtherLink,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"syn", Severity::kInfo, "SYNs answered by SYN-ACK"},
    {"repeated", Severity::kInfo, "segments behind the SYN of the same connection in one frame"},
    {"not-syn", Severity::kInfo, "segments of no connection, answered by RST"},
    {"ignored-reset", Severity::kInfo, "resets for a listener"},
    {"backlog-full", Severity::kWarn, "SYNs dropped: too many connections wait to be accepted"},
    {"no-memory", Severity::kWarn, "SYNs dropped: no half-open entry was free"},
    {"no-route", Severity::kWarn, "SYNs dropped: no route back"},
    {"bad-address", Severity::kWarn, "from or to an address that no connection can have"},
    {"option-length", Severity::kError, "an option says that it is shorter than its own header"},
    {"option-overrun", Severity::kError, "an option goes beyond the TCP header"},
    {"unlistened", Severity::kInfo,
     "the listener ended earlier in the same frame; treated as if it had never been"},
    {"handed-off", Severity::kInfo, "to the worker where the same connection was opened meanwhile"},
    {"other-link", Severity::kInfo,
     "SYNs by another interface than that of any listener at the port, answered by RST"},
};

Counter counter_of(SynVerdict v) noexcept {
  switch (v) {
    case SynVerdict::kAnswered:
      return kSynAnswered;
    case SynVerdict::kBacklogFull:
      return kBacklogFull;
    case SynVerdict::kNoMemory:
      return kNoMemory;
    case SynVerdict::kNoRoute:
      return kNoRoute;
    case SynVerdict::kTaken:
      return kRepeated;
  }
  return kNoMemory;
}

// Another lookup decides; `here`: what the segment counts as unless it goes to another worker.
Counter match_again(TcpWorker& t, Buffer& b, const Segment& s, const Options& o,
                    Counter here) noexcept {
  return rematch(t, b, s, o) == kRxHandedOff ? kHandedOff : here;
}

// `found` itself, or who listens at the port on the link by which it came. nullptr: nobody does.
Listener* hearer(TcpWorker& t, Listener& found, const Ends& ends, IfIndex by) noexcept {
  if (hears(found.options.interface, by)) [[likely]]
    return &found;
  const ConnId other = t.w.sessions->listener_on(t.w, ends, kProtoTcp, found.session, by);
  return other != kNoConn ? t.listeners.find(other) : nullptr;
}

Counter arrive(TcpWorker& t, Buffer& b) noexcept {
  const Segment s = segment_of(b);
  Ends ends;
  if (!endpoints_of(b, ends)) return kBadAddress;
  Options o;
  if (const auto f = options_of(t, b, s, o); f != OptionFault::kNone)
    return f == OptionFault::kLength ? kOptionLength : kOptionOverrun;
  if (s.has(kRst | kAck) || !s.has(kSyn)) {
    if (const auto kind = lookup(t, ends).kind;
        kind == FlowKind::kHalfOpen || kind == FlowKind::kEstablished)
      return match_again(t, b, s, o, kRepeated);  // a SYN before it in this frame has opened
    // Second step: an ACK here acknowledges nothing of ours. Neither flag: unreachable by an
    // honest peer, answered the same way.
    return answer_by_reset(t, ends, s) ? kNotSyn : kIgnoredReset;
  }
  Listener* l = t.listeners.find(b.session);
  if (!l) return match_again(t, b, s, o, kUnlistened);
  l = hearer(t, *l, ends, link_of(b));
  if (!l) {  // by other links than theirs they are not there
    answer_by_reset(t, ends, s);
    return kOtherLink;
  }
  const SynVerdict verdict = answer_syn(t, *l, ends, s, o, nullptr);
  if (verdict == SynVerdict::kTaken) return match_again(t, b, s, o, kRepeated);
  return counter_of(verdict);
}

void tcp_listen(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  TcpWorker& t = tcp_worker(w);
  TcpWorker::Scope scope(t);
  FrameEnd<kCounterCount> frame(w, rt);
  for (Buffer* b : in) {
    const Counter counter = arrive(t, *b);
    if (counter == kHandedOff) [[unlikely]]
      frame.gone(counter);
    else
      frame.end(*b, counter);
  }
}
}  // namespace

std::optional<SynVerdict> listener_arrives(TcpWorker& t, const Ends& ends, IfIndex by,
                                           const Segment& s, const Options& o,
                                           const Seq* iss_above) noexcept {
  const FlowMatch m = lookup(t, ends);
  Listener* l = m.kind == FlowKind::kListener ? t.listeners.find(m.conn) : nullptr;
  if (l) l = hearer(t, *l, ends, by);
  if (!l) return {};
  return answer_syn(t, *l, ends, s, o, iss_above);
}

const NodeInfo kTcp4Listen{
    .name = "tcp4-listen", .run = tcp_listen, .counters = kCounters, .next = {"drop"}};
const NodeInfo kTcp6Listen{
    .name = "tcp6-listen", .run = tcp_listen, .counters = kCounters, .next = {"drop"}};

}  // namespace loom::tcp
