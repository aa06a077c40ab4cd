// Nodes "tcp4-input" and "tcp6-input": check the header, find the connection, choose its state's
// node.
//   in    packets for this host, data at the TCP header, l3_offset set
//   out   tcpN-established | -syn-sent | -rcv-process | -listen with a Segment in opaque and the
//         connection's id in session; -reset (nobody); drop (malformed, denied, or not for this
//         host alone); tcpN-input of the worker where the connection lives, when that is another
//   cost  the lookup dominates; all keys of a frame are looked up in one call
#include <hostloom/checksum.h>

#include "rx.h"

namespace loom::tcp {
namespace {
enum Next : uint16_t {
  kToDrop,
  kToEstablished,
  kToSynSent,
  kToRcvProcess,
  kToListen,
  kToReset,
  kNextCount,
  kToWorker = kNextCount,  // no arc: another worker's
};
// Every packet lands in one.
enum Counter : uint16_t {
  kVanished,
  kEstablished,
  kSynSent,
  kRcvProcess,
  kListen,
  kNoConnection,
  kToGroup,
  kTooShort,
  kLengthOverrun,
  kDataOffsetShort,
  kDataOffsetOverrun,
  kBadChecksum,
  kHandedOff,
  kDenied,
  kCounterCount,
  kWellFormed = kCounterCount,  // of parse(): the lookup decides
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"vanished", Severity::kWarn, "the flow table led to a connection that is gone"},
    {"established", Severity::kInfo, "to a connection in ESTABLISHED"},
    {"syn-sent", Severity::kInfo, "to a connection in SYN-SENT"},
    {"rcv-process", Severity::kInfo, "to a connection in another state"},
    {"listen", Severity::kInfo, "to a listener"},
    {"no-connection", Severity::kInfo, "nobody listens and no connection matches"},
    {"to-group", Severity::kWarn, "sent to a broadcast or multicast address, of IP or of the link"},
    {"too-short", Severity::kError, "fewer than the 20 bytes of a header"},
    {"length-overrun", Severity::kError, "the IP header promises more than the packet has"},
    {"data-offset-short", Severity::kError, "data offset below 5 words"},
    {"data-offset-overrun", Severity::kError, "data offset beyond the segment"},
    {"bad-checksum", Severity::kError, "TCP checksum wrong"},
    {"handed-off", Severity::kInfo, "to the worker where the connection lives"},
    {"denied", Severity::kInfo, "refused by a session rule or the deny list, not answered"},
};

struct Ip4 {
  using Key = FlowKey4;
  static uint32_t l4_length(Buffer& b) noexcept {
    const auto& ip = *b.at<Ip4Header>(b.l3_offset);
    const auto header = static_cast<uint32_t>(b.offset_of_data() - b.l3_offset);
    return ip.total_length > header ? ip.total_length - header : 0;
  }
  static ChecksumSum pseudo(Buffer& b, uint32_t length) noexcept {
    const auto& ip = *b.at<Ip4Header>(b.l3_offset);
    return pseudo_header_sum(ip.src, ip.dst, kProtoTcp, length);
  }
  static void addresses(Buffer& b, Key& key) noexcept {
    const auto& ip = *b.at<Ip4Header>(b.l3_offset);
    key.local = ip.dst;
    key.remote = ip.src;
  }
  static void lookup(Worker& w, std::span<const Key> keys, FlowMatch* out) noexcept {
    w.sessions->lookup4(w, keys, out);
  }
};

struct Ip6 {
  using Key = FlowKey6;
  static uint32_t l4_length(Buffer& b) noexcept {
    const auto& ip = *b.at<Ip6Header>(b.l3_offset);
    const auto extensions =
        static_cast<uint32_t>(b.offset_of_data() - b.l3_offset) - uint32_t{sizeof(Ip6Header)};
    return ip.payload_length > extensions ? ip.payload_length - extensions : 0;
  }
  static ChecksumSum pseudo(Buffer& b, uint32_t length) noexcept {
    const auto& ip = *b.at<Ip6Header>(b.l3_offset);
    return pseudo_header_sum(ip.src, ip.dst, kProtoTcp, length);
  }
  static void addresses(Buffer& b, Key& key) noexcept {
    const auto& ip = *b.at<Ip6Header>(b.l3_offset);
    key.local = ip.dst;
    key.remote = ip.src;
  }
  static void lookup(Worker& w, std::span<const Key> keys, FlowMatch* out) noexcept {
    w.sessions->lookup6(w, keys, out);
  }
};

// Checks the header and leaves its Segment and the lookup key.
template <class Ip>
Counter parse(Buffer& b, typename Ip::Key& key) noexcept {
  // TCP has one peer (RFC 9293 section 3.9.2.3, MUST-57). RFC 1122 section 3.3.6 lets a host refuse
  // what came in a link-layer broadcast, too; one in a link-layer multicast is refused as Linux
  // does, since every station that gets a copy would answer.
  if (b.flags & kBufferGroup) [[unlikely]]
    return kToGroup;
  const auto* tcp = b.peek<TcpHeader>();
  const uint32_t length = Ip::l4_length(b);  // Ethernet's padding is not the segment's
  if (!tcp || length < sizeof(TcpHeader)) [[unlikely]]
    return kTooShort;
  if (length > b.length()) [[unlikely]]
    return kLengthOverrun;
  const uint32_t header = tcp->header_length();
  if (header < sizeof(TcpHeader)) [[unlikely]]
    return kDataOffsetShort;
  if (header > length || header > b.len) [[unlikely]]
    return kDataOffsetOverrun;
  if (!(b.flags & kBufferL4ChecksumOk) &&
      checksum_fold(checksum_add_chain(Ip::pseudo(b, length), &b, 0, length)) != 0xffff)
      [[unlikely]]
    return kBadChecksum;
  Segment s;
  s.seq = Seq(tcp->seq);
  s.ack = Seq(tcp->ack);
  s.payload = length - header;
  s.window = tcp->window;
  s.flags = tcp->flags & 0x3f;
  s.header_length = static_cast<uint8_t>(header);
  store_segment(b, s);
  key = {};
  Ip::addresses(b, key);
  key.local_port = tcp->dst_port;
  key.remote_port = tcp->src_port;
  key.protocol = kProtoTcp;
  key.fib_index = static_cast<uint16_t>(b.fib_index);
  return kWellFormed;
}

// kToWorker: m.worker is whose it is.
Verdict<Next, Counter> dispatch(TcpWorker& t, Buffer& b, FlowMatch& m) noexcept {
  b.session = m.conn;
  if (m.kind == FlowKind::kNone) return {kToReset, kNoConnection};
  if (m.kind == FlowKind::kDenied) [[unlikely]]
    return {kToDrop, kDenied};
  if (m.worker != t.w.index) [[unlikely]]
    return {kToWorker, kHandedOff};
  if (m.kind == FlowKind::kListener) return {kToListen, kListen};
  if (kind_of(m.conn) != IdKind::kConnection) return {kToRcvProcess, kRcvProcess};
  Connection* c = t.connections.find(m.conn);
  if (!c) [[unlikely]]
    return {kToDrop, kVanished};
  if (!c->hears_link(b)) [[unlikely]]
    return {kToReset, kNoConnection};
  if (c->state == State::kEstablished) [[likely]]
    return {kToEstablished, kEstablished};
  if (c->state == State::kSynSent) return {kToSynSent, kSynSent};
  if (c->state == State::kFrozen) [[unlikely]] {
    m.worker = c->frozen_for;
    return {kToWorker, kHandedOff};
  }
  return {kToRcvProcess, kRcvProcess};
}

// With many connections each packet finds its own out of the cache. All of a frame are asked for at
// once, and so are their sessions as soon as it is known which they are: the misses overlap.
void prefetch_connections(TcpWorker& t, std::span<const FlowMatch> matches) noexcept {
  ConnId previous = kNoConn;
  for (const FlowMatch& m : matches)
    if (m.kind == FlowKind::kEstablished && m.worker == t.w.index && m.conn != previous &&
        kind_of(m.conn) == IdKind::kConnection)
      t.connections.prefetch(previous = m.conn);
}
void prefetch_sessions(TcpWorker& t, std::span<const FlowMatch> matches) noexcept {
  if (!t.w.sessions->prefetch) return;
  std::array<SessionId, kFrameSize> sessions;
  std::size_t n = 0;
  ConnId previous = kNoConn;
  for (const FlowMatch& m : matches) {
    if (m.kind != FlowKind::kEstablished || m.worker != t.w.index || m.conn == previous) continue;
    previous = m.conn;
    const Connection* c = t.connections.find(m.conn);
    // A frozen one's session is another worker's by now.
    if (c && c->session != kNoSession && c->state != State::kFrozen) sessions[n++] = c->session;
  }
  t.w.sessions->prefetch(t.w, {sessions.data(), n});
}

struct Trace {
  Segment segment;
  ConnId conn;
  uint16_t counter;
};
void format_trace(const void* record, std::string& out) {
  const auto& r = *static_cast<const Trace*>(record);
  out += std::string(kCounters[r.counter].name) + " seq " + std::to_string(r.segment.seq.raw()) +
         " length " + std::to_string(r.segment.payload);
}

template <class Ip>
void tcp_input(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  TcpWorker& t = tcp_worker(w);
  FrameArray<typename Ip::Key> keys;
  FrameArray<FlowMatch> matches;
  std::array<Buffer*, kFrameSize> good;
  std::array<uint16_t, kFrameSize> next_good;
  std::array<uint32_t, kCounterCount> counts{};
  std::size_t n_good = 0, n_bad = 0;
  std::array<Buffer*, kFrameSize> bad;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch_data();
    const Counter c = parse<Ip>(*in[i], keys[n_good]);
    if (c == kWellFormed) [[likely]] {
      good[n_good++] = in[i];
    } else {
      rt.set_error(*in[i], c);
      ++counts[c];
      bad[n_bad++] = in[i];
    }
  }
  Ip::lookup(w, std::span<const typename Ip::Key>(keys.data(), n_good), matches.data());
  prefetch_connections(t, {matches.data(), n_good});
  prefetch_sessions(t, {matches.data(), n_good});
  std::size_t n_here = 0;
  for (std::size_t i = 0; i < n_good; ++i) {
    Buffer* const b = good[i];
    const auto verdict = dispatch(t, *b, matches[i]);
    ++counts[verdict.counter];
    if (b->is_traced()) [[unlikely]]
      if (auto* r = rt.trace<Trace>(*b)) *r = {segment_of(*b), b->session, verdict.counter};
    if (verdict.next == kToWorker) [[unlikely]] {
      b->flags |= kBufferL4ChecksumOk;
      w.hand_off(matches[i].worker, rt.id, {&b, 1});
      continue;
    }
    if (verdict.next == kToDrop) [[unlikely]]
      rt.set_error(*b, verdict.counter);
    good[n_here] = b;
    next_good[n_here++] = verdict.next;
  }
  rt.add_counters(counts);
  if (n_here != 0) rt.enqueue({good.data(), n_here}, next_good);
  if (n_bad != 0) rt.enqueue_all({bad.data(), n_bad}, kToDrop);
}
}  // namespace

const NodeInfo kTcp4Input{.name = "tcp4-input",
                          .run = tcp_input<Ip4>,
                          .counters = kCounters,
                          .next = {"drop", "tcp4-established", "tcp4-syn-sent", "tcp4-rcv-process",
                                   "tcp4-listen", "tcp4-reset"},
                          .trace_format = format_trace};
const NodeInfo kTcp6Input{.name = "tcp6-input",
                          .run = tcp_input<Ip6>,
                          .counters = kCounters,
                          .next = {"drop", "tcp6-established", "tcp6-syn-sent", "tcp6-rcv-process",
                                   "tcp6-listen", "tcp6-reset"},
                          .trace_format = format_trace};

}  // namespace loom::tcp
