// Nodes "udp4-error" and "udp6-error": ICMP errors about datagrams that this host has sent.
//   in    data at the quoted UDP header, l3_offset at the quoted IP header, an IcmpErrorNote
//   out   none | udpN-error of the worker where the session lives
//   cost  a lookup each; rare
//
// Somebody on the path claims it (RFC 5927): only what quotes the 5-tuple of a session with a peer
// is believed, or of one without to where this worker has sent something lately, and the worst it
// can do is one failed call, or smaller packets to that destination for ten minutes. Who has a peer
// hears of what lasts (icmp_errors.h); without one, of nothing but the path's MTU. Who wants to
// (IP_RECVERR) hears of all, of as many as the session layer keeps.
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include <algorithm>

#include "icmp_errors.h"
#include "path_news.h"
#include "udp.h"

namespace loom::udp {
namespace {
enum Counter : uint16_t {
  kRefused,
  kHardError,
  kPathMtu,
  kQueued,
  kQueueFull,
  kIgnored,
  kNoConnection,
  kTooShort,
  kHandedOff,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"refused", Severity::kInfo, "port unreachable: the application is told"},
    {"hard-error", Severity::kInfo,
     "other errors that last (RFC 1122 section 4.1.3.3): the application is told"},
    {"path-mtu", Severity::kInfo,
     "the path's MTU is smaller than was thought; the application is told if it has a peer"},
    {"queued", Severity::kInfo, "told to an application that wants all errors (IP_RECVERR)"},
    {"queue-full", Severity::kWarn, "the same, which does not read them"},
    {"ignored", Severity::kInfo, "errors that may pass (RFC 1122 section 4.1.3.3)"},
    {"no-connection", Severity::kInfo, "quotes nothing that was sent, as far as is known"},
    {"too-short", Severity::kError, "quotes fewer than the 8 bytes of a UDP header"},
    {"handed-off", Severity::kInfo, "to the worker where the session lives"},
};

struct Ip4 {
  using Key = FlowKey4;
  using Header = Ip4Header;
  static constexpr uint32_t kLeastMtu = 576;
  // Less than that, or nothing as old routers say: the least (RFC 1191 section 4).
  static uint32_t believed(uint32_t mtu) noexcept { return std::max(mtu, kLeastMtu); }
  static void lookup(Worker& w, const Key& key, FlowMatch& out) noexcept {
    w.sessions->lookup4(w, {&key, 1}, &out);
  }
  static bool is_mtu(const IcmpErrorNote& n) noexcept {
    return n.type == kIcmp4Unreachable && n.code == kIcmp4FragmentationNeeded;
  }
  // Who lets routers split his packets has nothing to be told.
  static IcmpMeaning meaning(const Connection& c, const IcmpErrorNote& n) noexcept {
    if (is_mtu(n) && c.ip4_path_mtu == PathMtu::kDont) return {};
    return meaning_of_icmp4(n.type, n.code);
  }
  static uint32_t info(Buffer& b, const IcmpErrorNote& n) noexcept {
    if (n.type == kIcmp4ParameterProblem) return icmp_error_rest(b) >> 24;  // its pointer
    return is_mtu(n) ? n.mtu : 0;
  }
  static uint8_t tos(const Header& ip) noexcept { return ip.tos; }
  static uint8_t ttl(const Header& ip) noexcept { return ip.ttl; }
};
struct Ip6 {
  using Key = FlowKey6;
  using Header = Ip6Header;
  static constexpr uint32_t kLeastMtu = 1280;  // RFC 8200 section 5
  static uint32_t believed(uint32_t mtu) noexcept { return mtu < kLeastMtu ? 0 : mtu; }  // RFC 8201
  static void lookup(Worker& w, const Key& key, FlowMatch& out) noexcept {
    w.sessions->lookup6(w, {&key, 1}, &out);
  }
  static bool is_mtu(const IcmpErrorNote& n) noexcept { return n.type == kIcmp6PacketTooBig; }
  // Who does not ask the path is not told of it; who lets this host split to it need not be.
  static IcmpMeaning meaning(const Connection& c, const IcmpErrorNote& n) noexcept {
    IcmpMeaning m = meaning_of_icmp6(n.type, n.code);
    if (!is_mtu(n)) return m;
    if (c.ip6_path_mtu == PathMtu::kInterface || c.ip6_path_mtu == PathMtu::kOmit) return {};
    m.is_hard = c.ip6_path_mtu != PathMtu::kDont;
    return m;
  }
  static uint32_t info(Buffer& b, const IcmpErrorNote&) noexcept { return icmp_error_rest(b); }
  static uint8_t tos(const Header& ip) noexcept { return ip.traffic_class(); }
  static uint8_t ttl(const Header& ip) noexcept { return ip.hop_limit; }
};

// With the ICMP packet's addresses and marks, and what it quotes of the payload.
template <class Ip>
Counter queue(UdpWorker& u, const Connection& c, Buffer& b, const IcmpErrorNote& note,
              uint16_t error) noexcept {
  const auto& udp = *b.peek<UdpHeader>();
  const auto& ip = *b.at<typename Ip::Header>(b.l3_offset);
  DatagramError e;
  e.ends.local = ip.src;
  e.ends.remote = ip.dst;
  e.ends.local_port = udp.src_port;
  e.ends.remote_port = udp.dst_port;
  e.ends.fib_index = b.fib_index;
  e.offender = icmp_error_source(b, note);
  e.error = error;
  e.origin = note.is_ip6 ? 3 : 2;
  e.type = note.type;
  e.code = note.code;
  e.info = Ip::info(b, note);
  e.interface = b.rx_if;
  e.to = ip.src;
  if (note.outer != 0) {
    const auto at = static_cast<int16_t>(b.l3_offset - note.outer * 4);
    const auto& outer = *b.at<typename Ip::Header>(at);
    e.to = outer.dst;
    e.tos = Ip::tos(outer);
    e.ttl = Ip::ttl(outer);
  }
  constexpr auto kHeader = static_cast<uint32_t>(sizeof(UdpHeader));
  const uint32_t sent = std::max<uint32_t>(udp.length, kHeader);
  const uint32_t quoted = std::min(b.length(), sent) - kHeader;
  const Status s = u.w.sessions->datagram_error(u.w, c.session, e, b, kHeader, quoted);
  return s == Status::kOk ? kQueued : kQueueFull;
}

template <class Ip>
Counter handle(UdpWorker& u, Buffer& b, uint8_t& worker) noexcept {
  const auto* udp = b.peek<UdpHeader>();
  if (!udp) return kTooShort;
  const auto& ip = *b.at<typename Ip::Header>(b.l3_offset);
  IcmpErrorNote note;
  std::memcpy(&note, b.opaque, sizeof note);
  typename Ip::Key key{};
  key.local = ip.src;
  key.remote = ip.dst;
  key.local_port = udp->src_port;
  key.remote_port = udp->dst_port;
  key.protocol = kProtoUdp;
  key.fib_index = static_cast<uint16_t>(b.fib_index);
  FlowMatch m;
  Ip::lookup(u.w, key, m);
  const bool has_peer = m.kind == FlowKind::kEstablished;
  if (!has_peer && m.kind != FlowKind::kBound) return kNoConnection;
  worker = m.worker;
  if (worker != u.w.index) return kHandedOff;
  Connection* c = u.connections.find(m.conn);
  if (!c || !c->hears(b)) return kNoConnection;  // as Linux, from the links that it hears alone
  const IpAddress to(ip.dst);
  if (!has_peer && !u.destinations.find(to, b.fib_index)) return kNoConnection;
  const uint32_t mtu = Ip::is_mtu(note) ? Ip::believed(note.mtu) : 0;
  if (mtu != 0) learn_path_mtu(u, to, b.fib_index, mtu);
  const IcmpMeaning meaning = Ip::meaning(*c, note);
  if (meaning.error != 0 && c->wants_errors(to.is_ip4))
    return queue<Ip>(u, *c, b, note, meaning.error);
  const bool is_told = meaning.is_hard && has_peer;
  if (is_told) u.w.sessions->call_fails(u.w, c->session, meaning.error);
  if (mtu != 0) return kPathMtu;
  if (!meaning.is_hard) return kIgnored;
  if (!is_told) return kNoConnection;
  return meaning.error == ECONNREFUSED ? kRefused : kHardError;
}

template <class Ip>
void udp_error(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  UdpWorker& u = udp_worker(w);
  std::array<uint32_t, kCounterCount> counts{};
  for (Buffer* b : in) {
    uint8_t worker = 0;
    const Counter c = handle<Ip>(u, *b, worker);
    ++counts[c];
    if (c == kHandedOff)
      w.hand_off(worker, rt.id, {&b, 1});
    else
      w.free(b);
  }
  rt.add_counters(counts);
}
}  // namespace

const NodeInfo kUdp4Error{
    .name = "udp4-error", .run = udp_error<Ip4>, .counters = kCounters, .next = {"drop"}};
const NodeInfo kUdp6Error{
    .name = "udp6-error", .run = udp_error<Ip6>, .counters = kCounters, .next = {"drop"}};

}  // namespace loom::udp
