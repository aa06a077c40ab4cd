// From the session layer's datagrams to packets: where each one goes, from which address, and
// whether it fits. Worker.
#include <hostloom/ip_push.h>
#include <hostloom/net.h>

#include <algorithm>

#include "output.h"

namespace loom::udp {
namespace {

constexpr uint32_t kMaxIpPacket = 65'535;

// What leaves this worker's connection in one call, by family.
class Batch {
 public:
  explicit Batch(UdpWorker& u) noexcept : u_(u) {}
  ~Batch() {
    flush(0);
    flush(1);
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  void add(Buffer& b, bool is_ip4, Sent verdict) noexcept {
    b.opaque[0] = static_cast<std::byte>(verdict);
    List& l = lists_[is_ip4 ? 0 : 1];
    l.packets[l.n++] = &b;
    if (l.n == kFrameSize) flush(is_ip4 ? 0 : 1);
  }

 private:
  struct List {
    std::size_t n = 0;
    Buffer* packets[kFrameSize];
  };
  void flush(std::size_t i) noexcept {
    List& l = lists_[i];
    if (l.n != 0)
      u_.w.enqueue_to_node(i == 0 ? shared().output4 : shared().output6, {l.packets, l.n});
    l.n = 0;
  }
  UdpWorker& u_;
  List lists_[2];
};

// To the peer: the route is looked up when something about routes has changed.
bool way_to_peer(UdpWorker& u, Connection& c, Way& way) noexcept {
  const uint32_t generation = *u.w.net->generation;
  if (c.route_generation != generation || c.mtu == 0) {
    RouteInfo route;
    if (u.w.net->route(u.w, c.ends.remote, c.ends.fib_index, &route) != Status::kOk) {
      c.mtu = 0;
      return false;
    }
    c.route_generation = generation;
    c.adjacency = route.is_local ? kNoIndex : route.adjacency;
    c.tx_if = route.is_local ? kNoIndex : route.tx_if;
    c.mtu = route.mtu;
  }
  if (c.pmtu != 0 && u.w.now >= c.pmtu_until) c.pmtu = 0;
  way = {c.ends, c.adjacency, c.tx_if, c.mtu, true};
  if (c.pmtu != 0 && c.pmtu < c.mtu) {
    way.mtu = c.pmtu;
    way.is_narrow = true;
  }
  return true;
}

// To where the datagram says, from the address that it names, or that was bound, or by route.
bool way_to(UdpWorker& u, const Connection& c, const Datagram& d, Way& way) noexcept {
  RouteInfo route;
  if (u.w.net->route(u.w, d.ends.remote, d.ends.fib_index, &route) != Status::kOk) return false;
  way.ends = d.ends;
  way.ends.local_port = c.ends.local_port;
  if (way.ends.local.is_zero()) way.ends.local = c.bound.is_zero() ? route.source : c.bound;
  way.adjacency = route.is_local ? kNoIndex : route.adjacency;
  way.tx_if = route.is_local ? kNoIndex : route.tx_if;
  way.mtu = route.mtu;
  way.knows_path = false;
  return true;
}

Sent decide(UdpWorker& u, Connection& c, const Datagram& d, uint32_t length, Way& way) noexcept {
  const bool is_named = d.flags & kDatagramRemote;
  if (!is_named && !c.has_peer()) return Sent::kNoDestination;
  if (is_named) {
    if (!is_unicast(d.ends.remote)) return Sent::kToGroup;
    if (!c.may_reach(d.ends.remote.is_ip4)) return Sent::kOtherFamily;
    if (!way_to(u, c, d, way)) return Sent::kNoRoute;
  } else if (!way_to_peer(u, c, way)) {
    return Sent::kNoRoute;
  }
  const bool is_ip4 = way.ends.remote.is_ip4;
  const uint32_t payload = length + uint32_t{sizeof(UdpHeader)};
  const uint32_t packet =
      payload + (is_ip4 ? uint32_t{sizeof(Ip4Header)} : uint32_t{sizeof(Ip6Header)});
  if ((is_ip4 ? packet : payload) > kMaxIpPacket) return Sent::kTooLong;
  // What is too big for the link is split behind it; here, what a router has said is too big.
  if (!is_ip4 && way.is_narrow && packet > way.mtu) return Sent::kFragmented;
  return Sent::kSent;
}

}  // namespace

void push_datagrams(Worker& w, ConnId id, std::span<Buffer* const> chains,
                    const Datagram* data) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.find(id);
  if (!c) return w.free(chains);
  Batch batch(u);
  for (std::size_t i = 0; i < chains.size(); ++i) {
    Buffer& b = *chains[i];
    const Datagram& d = data[i];
    Way way;
    const Sent verdict = decide(u, *c, d, b.length(), way);
    if (verdict == Sent::kSent || verdict == Sent::kFragmented) [[likely]] {
      push_headers(u, b, way, d.flags & kDatagramTos ? d.tos : c->tos,
                   d.flags & kDatagramTtl ? d.ttl : kDefaultTtl);
      if (verdict == Sent::kFragmented) std::memcpy(b.opaque + kMtuAt, &way.mtu, sizeof way.mtu);
      ++c->sent;
    } else if (c->has_peer() && !(d.flags & kDatagramRemote)) {
      // Only then: an error of one destination must not fail calls that concern another.
      if (verdict == Sent::kNoRoute)
        w.sessions->soft_error(w, c->session, ResetReason::kUnreachable);
      else if (verdict == Sent::kTooLong)
        w.sessions->soft_error(w, c->session, ResetReason::kMessageSize);
    }
    const IpAddress& to = d.flags & kDatagramRemote ? d.ends.remote : c->ends.remote;
    batch.add(b, to.is_ip4, verdict);
  }
}

}  // namespace loom::udp
