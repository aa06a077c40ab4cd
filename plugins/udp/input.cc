// Nodes "udp4-input" and "udp6-input": check the header, find the session, give it the datagram.
//   in    packets for this host, data at the UDP header, l3_offset set
//   out   none: delivered, or dropped because the application does not keep up; icmpN-error (nobody
//         has the port); drop (malformed, denied, or a group's that nobody waits for);
//         udpN-input of the worker where the session lives, when that is another
//   cost  the lookup, all keys of a frame in one call, and a copy of the payload
#include <hostloom/checksum.h>
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include "udp.h"

namespace loom::udp {
namespace {
enum Next : uint16_t {
  kToDrop,
  kToIcmpError,
  kNextCount,
  kToNobody = kNextCount,  // no arc: the packet ends here
  kToWorker,               // no arc: another worker's
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
     "nobody has the port, and it was for a broadcast or multicast address: not answered"},
    {"rcvbuf-full", Severity::kWarn, "dropped: the application does not keep up"},
    {"no-memory", Severity::kWarn, "dropped: no memory for the application's fifo"},
    {"closed", Severity::kInfo, "dropped: the session is being closed"},
    {"vanished", Severity::kWarn, "the flow table led to a session that is gone"},
    {"handed-off", Severity::kInfo, "to the worker where the session lives"},
    {"denied", Severity::kInfo, "refused by a session rule or the deny list, not answered"},
    {"too-short", Severity::kError, "fewer than the 8 bytes of a header"},
    {"length-short", Severity::kError, "length field below 8"},
    {"length-overrun", Severity::kError, "length field beyond the packet"},
    {"bad-checksum", Severity::kError, "UDP checksum wrong"},
    {"no-checksum", Severity::kError, "no checksum over IPv6 (RFC 8200 section 8.1)"},
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
  // RFC 6935's exception is for tunnels that ask for it; nobody here does.
  static constexpr bool kNeedsChecksum = true;
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
  if (udp->checksum == 0) {
    if (Ip::kNeedsChecksum) return kNoChecksum;
  } else if (!(b.flags & kBufferL4ChecksumOk)) {
    const ChecksumSum pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoUdp, length);
    if (checksum_fold(checksum_add_chain(pseudo, &b, 0, length)) != 0xffff) [[unlikely]]
      return kBadChecksum;
  }
  payload = length - uint32_t{sizeof(UdpHeader)};
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

// One datagram, or, of a packet that the device has put together, each in turn.
template <class Ip>
Counter deliver(UdpWorker& u, Connection& c, Buffer& b, uint32_t payload) noexcept {
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
  const uint32_t most = b.gso_size != 0 ? b.gso_size : payload;
  uint32_t done = 0;
  Status status;
  do {
    const uint32_t length = std::min(most, payload - done);
    status = u.w.sessions->rx_datagram(u.w, c.session, d, b,
                                       static_cast<uint32_t>(sizeof(UdpHeader)) + done, length);
    if (status != Status::kOk) break;
    ++c.received;
    done += length;
  } while (done < payload);
  c.overflowed += status == Status::kAgain;
  return counter_of(status);
}

template <class Ip>
Verdict<Next, Counter> dispatch(UdpWorker& u, Buffer& b, const FlowMatch& m,
                                uint32_t payload) noexcept {
  b.session = m.conn;
  if (m.kind == FlowKind::kDenied) [[unlikely]]
    return {kToDrop, kDenied};
  if (m.kind != FlowKind::kEstablished && m.kind != FlowKind::kBound &&
      m.kind != FlowKind::kHalfOpen) {
    if (b.flags & kBufferGroup) return {kToDrop, kNoPortGroup};  // RFC 1122 section 3.2.2
    Ip::request_unreachable(b);
    return {kToIcmpError, kNoPort};
  }
  if (m.worker != u.w.index) [[unlikely]]
    return {kToWorker, kHandedOff};
  Connection* c = u.connections.find(m.conn);
  if (!c) [[unlikely]]
    return {kToDrop, kVanished};
  return {kToNobody, deliver<Ip>(u, *c, b, payload)};
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
  std::array<typename Ip::Key, kFrameSize> keys;
  std::array<uint32_t, kFrameSize> payloads;
  std::array<FlowMatch, kFrameSize> matches;
  std::array<Buffer*, kFrameSize> good, leaving, ended;
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  std::size_t n_good = 0, n_leaving = 0, n_ended = 0;
  const auto leave = [&](Buffer* b, uint16_t to, uint16_t counter) {
    if (to == kToDrop) rt.set_error(*b, counter);
    leaving[n_leaving] = b;
    next[n_leaving++] = to;
  };
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch_data();
    const Counter c = parse<Ip>(*in[i], keys[n_good], payloads[n_good]);
    if (c == kWellFormed) [[likely]] {
      good[n_good++] = in[i];
    } else {
      ++counts[c];
      leave(in[i], kToDrop, c);
    }
  }
  Ip::lookup(w, std::span<const typename Ip::Key>(keys.data(), n_good), matches.data());
  for (std::size_t i = 0; i < n_good; ++i) {
    Buffer* const b = good[i];
    const auto verdict = dispatch<Ip>(u, *b, matches[i], payloads[i]);
    ++counts[verdict.counter];
    if (b->is_traced()) [[unlikely]]
      if (auto* r = rt.trace<Trace>(*b)) *r = {b->session, payloads[i], verdict.counter};
    if (verdict.next == kToNobody) [[likely]] {
      ended[n_ended++] = b;
    } else if (verdict.next == kToWorker) {
      b->flags |= kBufferL4ChecksumOk;
      w.hand_off(matches[i].worker, rt.id, {&good[i], 1});
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
