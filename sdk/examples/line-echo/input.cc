// Node "line-echo-input": what the peer sends.
//   in    IPv4 packets of our protocol for this host, data at our header
//   out   nowhere: text is copied to the session's rx fifo, and the packet is freed; but this node
//         of another worker, where the packet's connection lives
// Every packet lands in exactly one counter.
#include <hostloom/checksum.h>

#include "connection.h"

namespace line_echo {
namespace {

enum Counter : uint16_t {
  kDelivered,
  kOpened,
  kClosed,
  kAcknowledged,
  kDuplicate,
  kNoRoom,
  kResetReceived,
  kNotExpected,
  kBacklogFull,
  kNoConnection,
  kMalformed,
  kDenied,
  kElsewhere,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"delivered", Severity::kInfo, "text handed to a session"},
    {"opened", Severity::kInfo, "connections accepted"},
    {"closed", Severity::kInfo, "the peer sends no more text"},
    {"acknowledged", Severity::kInfo, "acknowledgements of what was under way"},
    {"duplicate", Severity::kInfo, "received before: the acknowledgement was lost"},
    {"no-room", Severity::kInfo, "the application reads slowly, or ours said that its peer does"},
    {"reset", Severity::kWarn, "the peer knows no such connection"},
    {"not-expected", Severity::kWarn, "numbers that do not follow, acknowledgements of nothing"},
    {"backlog-full", Severity::kWarn, "connections not accepted now: the accept queue is full"},
    {"no-connection", Severity::kWarn, "neither a connection nor a listener"},
    {"malformed", Severity::kError, "too short, wrong checksum, or of no known kind"},
    {"denied", Severity::kInfo, "refused by a session rule or the deny list, not answered"},
    {"elsewhere", Severity::kInfo, "handed to the worker of its connection"},
};

bool is_well_formed(const Buffer& b, const Ip4Header& ip, const Header& h) noexcept {
  const auto sum = checksum_add_chain(pseudo_header_sum(ip.src, ip.dst, kIpProtocol, b.length()),
                                      &b, 0, b.length());
  return checksum_fold(sum) == 0xffff && h.kind >= kOpen && h.kind <= kReset &&
         (h.kind == kData) == (b.length() > sizeof(Header)) && h.src_port != 0 && h.dst_port != 0;
}

// For a connection that is not there. Its close is granted: it has come to its end before, and the
// acknowledgement was lost.
Counter turn_away(LineWorker& l, const Endpoints& ends, const Header& h) noexcept {
  if (h.kind == kClose)
    send_answer(l, ends, kAck, h.sequence);
  else if (h.kind == kOpen || h.kind == kData)
    send_answer(l, ends, kReset, h.sequence);
  return kNoConnection;
}

Counter accept(LineWorker& l, Listener& listener, const Endpoints& ends, const Header& h) noexcept {
  if (h.kind != kOpen || h.sequence != 0) return turn_away(l, ends, h);
  const SessionOps& sessions = *l.w.sessions;
  // Not answered: the peer asks again.
  if (!sessions.accept_allowed(l.w, listener.session, 0)) return kBacklogFull;
  Connection* c = l.open(ends);
  if (!c) return kBacklogFull;
  c->is_open = true;
  c->next_sequence = c->expected = 1;
  if (sessions.flow_add(l.w, ends, kIpProtocol, FlowKind::kEstablished, c->id) != Status::kOk ||
      sessions.accepted(l.w, listener.session, shared().transport, c->id, ends, &c->session) !=
          Status::kOk) {
    l.forget(*c);
    return kBacklogFull;
  }
  send_answer(l, ends, kAck, h.sequence);
  return kOpened;
}

// The next numbered packet of the peer.
Counter take(LineWorker& l, Connection& c, const Buffer& b, const Header& h) noexcept {
  if (h.kind == kData) {
    if (c.app_closed) {  // nobody will read it
      const SessionId session = c.session;
      send_answer(l, c.ends, kReset, h.sequence);
      l.forget(c);
      l.w.sessions->closed(l.w, session);
      return kNotExpected;
    }
    // A packet may find room for a part only; the rest is taken when it comes again.
    const auto text = static_cast<uint32_t>(b.length() - sizeof(Header));
    if (c.stored < text)
      c.stored +=
          l.w.sessions->rx_enqueue(l.w, c.session, b, sizeof(Header) + c.stored, text - c.stored);
    if (c.stored < text) {
      send_answer(l, c.ends, kBusy, h.sequence);
      return kNoRoom;
    }
    c.stored = 0;
    c.bytes_received += text;
  }
  ++c.expected;
  send_answer(l, c.ends, kAck, h.sequence);
  if (h.kind == kData) return kDelivered;
  c.peer_closed = true;
  l.w.sessions->peer_closed(l.w, c.session);
  finish_if_done(l, c);
  return kClosed;
}

Counter receive(LineWorker& l, Connection& c, const Buffer& b, const Header& h) noexcept {
  const bool is_pending = c.pending != 0 && h.sequence == c.next_sequence;
  switch (h.kind) {
    case kAck:
      if (!is_pending) return kNotExpected;
      acknowledged(l, c);
      return kAcknowledged;
    case kBusy:
      if (!is_pending) return kNotExpected;
      c.tries = 0;  // it is there, and will have room
      return kNoRoom;
    case kReset:
      fail(l, c, ResetReason::kPeerReset);
      return kResetReceived;
    default:
      break;
  }
  if (!c.is_open || (c.peer_closed && h.sequence == c.expected)) return kNotExpected;
  if (h.sequence == c.expected && h.kind != kOpen) return take(l, c, b, h);
  if (h.sequence == static_cast<uint8_t>(c.expected - 1)) {
    send_answer(l, c.ends, kAck, h.sequence);
    return kDuplicate;
  }
  return kNotExpected;
}

// With kElsewhere, `worker` is where.
Counter deliver(LineWorker& l, const Buffer& b, uint32_t& worker) noexcept {
  if (b.len < sizeof(Header)) return kMalformed;
  const auto& ip = *reinterpret_cast<const Ip4Header*>(b.start() + b.l3_offset);
  const auto& h = *reinterpret_cast<const Header*>(b.data);
  if (!is_well_formed(b, ip, h)) return kMalformed;
  const FlowKey4 key{.local = ip.dst,
                     .remote = ip.src,
                     .local_port = h.dst_port,
                     .remote_port = h.src_port,
                     .protocol = kIpProtocol,
                     .fib_index = static_cast<uint16_t>(b.fib_index)};
  FlowMatch match;
  l.w.sessions->lookup4(l.w, {&key, 1}, &match);
  const Endpoints ends{.local = ip.dst,
                       .remote = ip.src,
                       .local_port = h.dst_port,
                       .remote_port = h.src_port,
                       .fib_index = b.fib_index};
  if (match.kind == FlowKind::kListener) return accept(l, l.listeners[match.conn], ends, h);
  if (match.kind > FlowKind::kListener) return kDenied;  // by that name since ABI 1.1
  if (match.kind != FlowKind::kNone && match.worker != l.w.index) {
    worker = match.worker;
    return kElsewhere;
  }
  Connection* c = match.kind == FlowKind::kNone ? nullptr : l.find(match.conn);
  if (c) return receive(l, *c, b, h);
  return turn_away(l, ends, h);
}

void run(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  LineWorker& l = line_worker(w);
  std::array<uint32_t, kCounterCount> counts{};
  std::array<Buffer*, kFrameSize> done;
  std::size_t n_done = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch_data();
    uint32_t worker = w.index;
    const Counter counter = deliver(l, *in[i], worker);
    ++counts[counter];
    if (in[i]->is_traced()) [[unlikely]]
      if (auto* record = rt.trace<Counter>(*in[i])) *record = counter;
    if (counter == kElsewhere) {
      w.hand_off(worker, rt.id, in.subspan(i, 1));
      continue;
    }
    done[n_done++] = in[i];
  }
  rt.add_counters(counts);
  w.free(std::span(done).first(n_done));
}

void format(const void* record, std::string& out) {
  out += kCounters[*static_cast<const Counter*>(record)].name;
}

}  // namespace

const NodeInfo kInputNode{
    .name = "line-echo-input", .run = run, .counters = kCounters, .trace_format = format};

}  // namespace line_echo
