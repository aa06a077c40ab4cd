// Nodes "udp4-error" and "udp6-error": ICMP errors about datagrams that this host has sent.
//   in    data at the quoted UDP header, l3_offset at the quoted IP header, an IcmpErrorNote
//   out   none | udpN-error of the worker where the session lives
//   cost  a lookup each; rare
//
// Somebody on the path claims it (RFC 5927): only what quotes the 5-tuple of a session with a peer
// is believed, and the worst it can do is one failed call, or smaller packets for ten minutes.
// Sessions without a peer hear nothing, as on Linux without IP_RECVERR.
#include <hostloom/net.h>

#include <algorithm>

#include "udp.h"

namespace loom::udp {
namespace {
enum Counter : uint16_t {
  kRefused,
  kPathMtu,
  kIgnored,
  kNoConnection,
  kTooShort,
  kHandedOff,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"refused", Severity::kInfo, "port or protocol unreachable: the application is told"},
    {"path-mtu", Severity::kInfo, "the path's MTU is smaller than was thought"},
    {"ignored", Severity::kInfo, "errors that may pass (RFC 1122 section 4.1.3.3)"},
    {"no-connection", Severity::kInfo, "quotes nothing that a session with a peer has sent"},
    {"too-short", Severity::kError, "quotes fewer than the 8 bytes of a UDP header"},
    {"handed-off", Severity::kInfo, "to the worker where the session lives"},
};
constexpr TimeNs kPathMtuAge = 600 * kSecond;  // RFC 1191 section 6.3, RFC 8201 section 5.3

struct Ip4 {
  using Key = FlowKey4;
  using Header = Ip4Header;
  static constexpr uint32_t kLeastMtu = 576;
  // Less than that, or nothing as old routers say: the least (RFC 1191 section 4).
  static uint32_t believed(uint32_t mtu) noexcept { return std::max(mtu, kLeastMtu); }
  static void lookup(Worker& w, const Key& key, FlowMatch& out) noexcept {
    w.sessions->lookup4(w, {&key, 1}, &out);
  }
  static bool is_refusal(const IcmpErrorNote& n) noexcept {
    return n.type == kIcmp4Unreachable &&
           (n.code == kIcmp4PortUnreachable || n.code == kIcmp4ProtocolUnreachable);
  }
  static bool is_mtu(const IcmpErrorNote& n) noexcept {
    return n.type == kIcmp4Unreachable && n.code == kIcmp4FragmentationNeeded;
  }
};
struct Ip6 {
  using Key = FlowKey6;
  using Header = Ip6Header;
  static constexpr uint32_t kLeastMtu = 1280;  // RFC 8200 section 5
  static uint32_t believed(uint32_t mtu) noexcept { return mtu < kLeastMtu ? 0 : mtu; }  // RFC 8201
  static void lookup(Worker& w, const Key& key, FlowMatch& out) noexcept {
    w.sessions->lookup6(w, {&key, 1}, &out);
  }
  static bool is_refusal(const IcmpErrorNote& n) noexcept {
    return n.type == kIcmp6Unreachable && n.code == kIcmp6PortUnreachable;
  }
  static bool is_mtu(const IcmpErrorNote& n) noexcept { return n.type == kIcmp6PacketTooBig; }
};

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
  if (m.kind != FlowKind::kEstablished) return kNoConnection;
  worker = m.worker;
  if (worker != u.w.index) return kHandedOff;
  Connection* c = u.connections.find(m.conn);
  if (!c) return kNoConnection;
  if (Ip::is_refusal(note)) {
    u.w.sessions->soft_error(u.w, c->session, ResetReason::kRefused);
    return kRefused;
  }
  const uint32_t mtu = Ip::is_mtu(note) ? Ip::believed(note.mtu) : 0;
  if (mtu == 0) return kIgnored;
  if (c->pmtu == 0 || mtu < c->pmtu) c->pmtu = mtu;
  c->pmtu_until = u.w.now + kPathMtuAge;
  return kPathMtu;
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
