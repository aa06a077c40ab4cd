// Nodes "udp4-input" and "udp6-input": check the header, find the session, give it the datagram.
//   in    packets for this host, data at the UDP header, l3_offset set
//   out   none: delivered, or dropped because the application does not keep up; icmpN-error (nobody
//         has the port); drop (malformed, denied, or a group's that nobody waits for);
//         udpN-input of the worker where the session lives, when that is another; udp-hearer of
//         others, when who has the port does not hear the link
//   cost  the lookup, all keys of a frame in one call, and a copy of the payload
#include <hostloom/checksum.h>
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include "delivery.h"
#include "groups.h"
#include "hearers.h"
#include "udp.h"

namespace loom::udp {
namespace {
enum Next : uint16_t {
  kToDrop,
  kToIcmpError,
  kNextCount,
  kToNobody = kNextCount,  // no arc: the packet ends here
  kToWorker,               // no arc: another worker's
  kToHearers,              // no arc: other workers are asked
};
// Every packet lands in one.
enum Counter : uint16_t {
  kDelivered,
  kNoPort,
  kNoPortGroup,
  kRcvbufFull,
  kNoMemory,
  kClosed,
  kVanished,
  kHandedOff,
  kDenied,
  kTooShort,
  kLengthShort,
  kLengthOverrun,
  kBadChecksum,
  kNoChecksum,
  kCounterCount,
  kWellFormed = kCounterCount,  // of parse(): the lookup decides
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"delivered", Severity::kInfo, "handed to a session"},
    {"no-port", Severity::kInfo, "nobody has the port; the sender is told"},
    {"no-port-group", Severity::kInfo,
     "nobody wants it, and it was for a broadcast or multicast address: not answered"},
    {"rcvbuf-full", Severity::kWarn, "dropped: the application does not keep up"},
    {"no-memory", Severity::kWarn, "dropped: no memory for the application's fifo"},
    {"closed", Severity::kInfo, "dropped: the session is being closed"},
    {"vanished", Severity::kWarn, "the flow table led to a session that is gone"},
    {"handed-off", Severity::kInfo,
     "to the worker where the session lives, or to those where one may that hears the link"},
    {"denied", Severity::kInfo, "refused by a session rule or the deny list, not answered"},
    {"too-short", Severity::kError, "fewer than the 8 bytes of a header"},
    {"length-short", Severity::kError, "length field below 8"},
    {"length-overrun", Severity::kError, "length field beyond the packet"},
    {"bad-checksum", Severity::kError, "UDP checksum wrong"},
    {"no-checksum", Severity::kError,
     "no checksum over IPv6, and no socket there that takes it so (RFC 8200 section 8.1, RFC "
     "6935)"},
};

struct Ip4 {
  using Key = FlowKey4;
  using Header = Ip4Header;
  static constexpr bool kNeedsChecksum = false;  // RFC 768: zero means none
  static uint32_t l4_length(Buffer& b, const Header& ip) noexcept {
    const auto header = static_cast<uint32_t>(b.offset_of_data() - b.l3_offset);
    return ip.total_length > header ? ip.total_length - header : 0;
  }
  static uint8_t tos(const Header& ip) noexcept { return ip.tos; }
  static uint8_t ttl(const Header& ip) noexcept { return ip.ttl; }
  static void lookup(Worker& w, std::span<const Key> keys, FlowMatch* out) noexcept {
    w.sessions->lookup4(w, keys, out);
  }
  static void request_unreachable(Buffer& b) noexcept {
    request_icmp_error(b, kIcmp4Unreachable, kIcmp4PortUnreachable);
  }
};

struct Ip6 {
  using Key = FlowKey6;
  using Header = Ip6Header;
  static constexpr bool kNeedsChecksum = true;  // unless the socket says otherwise: RFC 6935
  static uint32_t l4_length(Buffer& b, const Header& ip) noexcept {
    const auto extensions =
        static_cast<uint32_t>(b.offset_of_data() - b.l3_offset) - uint32_t{sizeof(Header)};
    return ip.payload_length > extensions ? ip.payload_length - extensions : 0;
  }
  static uint8_t tos(const Header& ip) noexcept { return ip.traffic_class(); }
  static uint8_t ttl(const Header& ip) noexcept { return ip.hop_limit; }
  static void lookup(Worker& w, std::span<const Key> keys, FlowMatch* out) noexcept {
    w.sessions->lookup6(w, keys, out);
  }
  static void request_unreachable(Buffer& b) noexcept {
    request_icmp_error(b, kIcmp6Unreachable, kIcmp6PortUnreachable);
  }
};

// What only a socket that has asked for it gets (UDP_NO_CHECK6_RX).
template <class Ip>
bool lacks_checksum(Buffer& b) noexcept {
  return Ip::kNeedsChecksum && b.peek<UdpHeader>()->checksum == 0;
}

// Checks the header and leaves the lookup key. Without segmentation the datagram's length is its
// own; what the device has put together (gso_size) is as long as its IP packet.
template <class Ip>
Counter parse(Buffer& b, typename Ip::Key& key, uint32_t& payload) noexcept {
  const auto& ip = *b.at<typename Ip::Header>(b.l3_offset);
  const auto* udp = b.peek<UdpHeader>();
  const uint32_t room = std::min(Ip::l4_length(b, ip), b.length());  // without Ethernet's padding
  if (!udp || room < sizeof(UdpHeader)) [[unlikely]]
    return kTooShort;
  if (udp->length < sizeof(UdpHeader)) [[unlikely]]
    return kLengthShort;
  if (udp->length > room) [[unlikely]]
    return kLengthOverrun;
  const uint32_t length = b.gso_size == 0 ? uint32_t{udp->length} : room;
  if (udp->checksum != 0 && !(b.flags & kBufferL4ChecksumOk)) {
    const ChecksumSum pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoUdp, length);
    if (checksum_fold(checksum_add_chain(pseudo, &b, 0, length)) != 0xffff) [[unlikely]]
      return kBadChecksum;
  }
  payload = length - uint32_t{sizeof(UdpHeader)};
  key = {};
  key.local = ip.dst;
  key.remote = ip.src;
  key.local_port = udp->dst_port;
  key.remote_port = udp->src_port;
  key.protocol = kProtoUdp;
  key.fib_index = static_cast<uint16_t>(b.fib_index);
  return kWellFormed;
}

Counter counter_of(Status s) noexcept {
  switch (s) {
    case Status::kOk:
      return kDelivered;
    case Status::kAgain:
      return kRcvbufFull;
    case Status::kClosed:
      return kClosed;
    default:
      return kNoMemory;
  }
}

template <class Ip>
Datagram describe(Buffer& b) noexcept {
  const auto& ip = *b.at<typename Ip::Header>(b.l3_offset);
  const auto& udp = *b.peek<UdpHeader>();
  Datagram d;
  d.ends.local = ip.dst;
  d.ends.remote = ip.src;
  d.ends.local_port = udp.dst_port;
  d.ends.remote_port = udp.src_port;
  d.ends.fib_index = b.fib_index;
  d.interface = b.rx_if;
  d.tos = Ip::tos(ip);
  d.ttl = Ip::ttl(ip);
  return d;
}

// Nobody has the port.
template <class Ip>
Verdict<Next, Counter> nobody(Buffer& b) noexcept {
  // Whether it was sent to this port nobody knows: it is not answered.
  if (lacks_checksum<Ip>(b)) return {kToDrop, kNoChecksum};
  if (b.flags & kBufferGroup) return {kToDrop, kNoPortGroup};  // RFC 1122 section 3.2.2
  Ip::request_unreachable(b);
  return {kToIcmpError, kNoPort};
}

template <class Ip>
Verdict<Next, Counter> dispatch_to_group(UdpWorker& u, Buffer& b, uint32_t payload) noexcept {
  const GroupOutcome o = deliver_to_group(u, b, payload);
  if (o.delivered != 0) return {kToNobody, kDelivered};
  if (o.refused != 0) return {kToNobody, kRcvbufFull};
  if (o.passed_on) return {kToNobody, kHandedOff};
  return {kToDrop, lacks_checksum<Ip>(b) ? kNoChecksum : kNoPortGroup};
}

template <class Ip>
Verdict<Next, Counter> dispatch(UdpWorker& u, Buffer& b, const FlowMatch& m,
                                uint32_t payload) noexcept {
  b.session = m.conn;
  if (m.kind == FlowKind::kDenied) [[unlikely]]
    return {kToDrop, kDenied};
  const bool is_group = b.flags & kBufferNetGroup;
  const bool has_peer = m.kind == FlowKind::kEstablished || m.kind == FlowKind::kHalfOpen;
  if (is_group && !has_peer) [[unlikely]]
    return dispatch_to_group<Ip>(u, b, payload);
  if (!has_peer && m.kind != FlowKind::kBound) return nobody<Ip>(b);
  if (m.worker != u.w.index) [[unlikely]]
    return {kToWorker, kHandedOff};
  Connection* c = u.connections.find(m.conn);
  if (!c) [[unlikely]]
    return {kToDrop, kVanished};
  if (!c->hears(b)) [[unlikely]] {  // to what comes by other interfaces it is not there
    if (is_group) return dispatch_to_group<Ip>(u, b, payload);
    int score;
    c = find_hearer(u, b, score);
    if (score < kMostAsked && may_be_elsewhere(u, b)) {
      note_search(u, b, payload, score);
      return {kToHearers, kHandedOff};
    }
    if (!c) return nobody<Ip>(b);
  }
  if (lacks_checksum<Ip>(b) && !c->no_check6_rx) [[unlikely]]
    return {kToDrop, kNoChecksum};
  return {kToNobody, counter_of(give(u, *c, describe<Ip>(b), b, payload))};
}

// The well-formed packets of a frame, and what was found for them.
template <class Ip>
struct Found {
  FrameArray<typename Ip::Key> keys;
  std::array<uint32_t, kFrameSize> payloads;
  FrameArray<FlowMatch> matches;
  std::array<Buffer*, kFrameSize> packets;
  std::size_t n = 0;
};

// How many packets from the ith on are one flow's datagrams of the same length, but for a shorter
// last one, in packets that can be chained (UDP_GRO). 1: it goes alone.
template <class Ip>
std::size_t run_length(const Found<Ip>& f, std::size_t i) noexcept {
  constexpr std::size_t kMost = 64;  // as Linux puts together
  const auto header = [](Buffer& b) { return b.at<typename Ip::Header>(b.l3_offset); };
  const auto is_plain = [](Buffer& b) {
    return b.gso_size == 0 && !b.next && !(b.flags & kBufferGroup) && !lacks_checksum<Ip>(b);
  };
  Buffer& first = *f.packets[i];
  const uint32_t size = f.payloads[i];
  if (size == 0 || !is_plain(first)) return 1;
  uint32_t total = size;
  std::size_t n = 1;
  for (; i + n < f.n && n < kMost; ++n) {
    Buffer& b = *f.packets[i + n];
    const uint32_t more = f.payloads[i + n];
    if (std::memcmp(&f.keys[i], &f.keys[i + n], sizeof f.keys[i]) != 0 || !is_plain(b) ||
        more == 0 || more > size || total + more > kMaxDatagramBytes || b.rx_if != first.rx_if ||
        Ip::tos(*header(b)) != Ip::tos(*header(first)) ||
        Ip::ttl(*header(b)) != Ip::ttl(*header(first)))
      break;
    total += more;
    if (more < size) return n + 1;
  }
  return n;
}

// Gives the n packets from the ith on to the socket as one. The first becomes the chain of all.
template <class Ip>
Counter deliver_run(UdpWorker& u, Connection& c, Found<Ip>& f, std::size_t i,
                    std::size_t n) noexcept {
  Buffer& first = *f.packets[i];
  Datagram d = describe<Ip>(first);
  d.segment = static_cast<uint16_t>(f.payloads[i]);
  constexpr auto kHeader = static_cast<uint32_t>(sizeof(UdpHeader));
  first.len = kHeader + f.payloads[i];  // padding is not payload
  Buffer* last = &first;
  for (std::size_t k = i + 1; k < i + n; ++k) {
    Buffer& b = *f.packets[k];
    b.advance(kHeader);
    b.len = f.payloads[k];
    first.rest_len += b.len;
    last->next = &b;
    last = &b;
  }
  const Status s =
      u.w.sessions->rx_datagram(u.w, c.session, d, first, kHeader, first.length() - kHeader);
  if (s == Status::kOk) c.received += n;
  if (s == Status::kAgain) c.overflowed += n;
  return counter_of(s);
}

// The socket of this worker that takes several like this one at once, or nullptr.
Connection* taker_of_runs(UdpWorker& u, const FlowMatch& m, const Buffer& b) noexcept {
  if ((m.kind != FlowKind::kEstablished && m.kind != FlowKind::kBound) || m.worker != u.w.index)
    return nullptr;
  Connection* c = u.connections.find(m.conn);
  return c && c->gro && c->hears(b) ? c : nullptr;
}

struct Trace {
  ConnId conn;
  uint32_t payload;
  uint16_t counter;
};
void format_trace(const void* record, std::string& out) {
  const auto& r = *static_cast<const Trace*>(record);
  out += std::string(kCounters[r.counter].name) + " length " + std::to_string(r.payload);
}

template <class Ip>
void udp_input(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  UdpWorker& u = udp_worker(w);
  Found<Ip> f;
  std::array<Buffer*, kFrameSize> leaving, ended;
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  std::size_t n_leaving = 0, n_ended = 0;
  const auto leave = [&](Buffer* b, uint16_t to, uint16_t counter) {
    if (to == kToDrop) rt.set_error(*b, counter);
    leaving[n_leaving] = b;
    next[n_leaving++] = to;
  };
  const auto note = [&](std::size_t i, Counter counter) {
    ++counts[counter];
    if (f.packets[i]->is_traced()) [[unlikely]]
      if (auto* r = rt.trace<Trace>(*f.packets[i]))
        *r = {f.matches[i].conn, f.payloads[i], counter};
  };
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch_data();
    const Counter c = parse<Ip>(*in[i], f.keys[f.n], f.payloads[f.n]);
    if (c == kWellFormed) [[likely]] {
      f.packets[f.n++] = in[i];
    } else {
      ++counts[c];
      leave(in[i], kToDrop, c);
    }
  }
  Ip::lookup(w, std::span<const typename Ip::Key>(f.keys.data(), f.n), f.matches.data());
  for (std::size_t i = 0; i < f.n; ++i) {
    Buffer* const b = f.packets[i];
    if (u.n_gro != 0) [[unlikely]]
      if (Connection* c = taker_of_runs(u, f.matches[i], *b)) {
        if (const std::size_t n = run_length(f, i); n > 1) {
          const Counter counter = deliver_run(u, *c, f, i, n);
          for (std::size_t k = i; k < i + n; ++k) note(k, counter);
          ended[n_ended++] = b;  // the others are its chain now
          i += n - 1;
          continue;
        }
      }
    const auto verdict = dispatch<Ip>(u, *b, f.matches[i], f.payloads[i]);
    note(i, verdict.counter);
    if (verdict.next == kToNobody) [[likely]] {
      ended[n_ended++] = b;
    } else if (verdict.next == kToWorker) {
      b->flags |= kBufferL4ChecksumOk;
      w.hand_off(f.matches[i].worker, rt.id, {&b, 1});
    } else if (verdict.next == kToHearers) {
      look_elsewhere(u, *b);
    } else {
      leave(b, verdict.next, verdict.counter);
    }
  }
  rt.add_counters(counts);
  if (n_ended != 0) w.free({ended.data(), n_ended});
  if (n_leaving != 0) rt.enqueue({leaving.data(), n_leaving}, next);
}
}  // namespace

const NodeInfo kUdp4Input{.name = "udp4-input",
                          .run = udp_input<Ip4>,
                          .counters = kCounters,
                          .next = {"drop", "icmp4-error"},
                          .trace_format = format_trace};
const NodeInfo kUdp6Input{.name = "udp6-input",
                          .run = udp_input<Ip6>,
                          .counters = kCounters,
                          .next = {"drop", "icmp6-error"},
                          .trace_format = format_trace};

}  // namespace loom::udp
