// From the session layer's datagrams to packets: where each one goes, from which address, and
// whether it fits. Worker.
#include <hostloom/ip_push.h>
#include <hostloom/net.h>

#include <algorithm>
#include <cerrno>

#include "groups.h"
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

// To where the datagram says, from the address that it names, or that was bound, or by route.
bool way_to(UdpWorker& u, const Connection& c, const Datagram& d, Way& way) noexcept {
  const bool names_local = !d.ends.local.is_zero();
  const bool names_interface = d.flags & kDatagramLocalInterface;
  // An address that says the interface is no source of who has one: bound, or by connect().
  const bool is_connected = names_interface && !c.has_source() && c.has_peer() &&
                            c.ends.local.is_ip4 == d.ends.remote.is_ip4;
  const bool has_source = c.has_source() || is_connected;
  const IpAddress& own = is_connected ? c.ends.local : c.bound;
  const IpAddress& from = names_local || !has_source ? d.ends.local : own;
  const bool names_source = names_local && !(has_source && names_interface);
  const IfIndex by = d.flags & kDatagramInterface ? d.interface : c.interface;
  const bool may_be_routed = by == kNoIndex && is_unicast(d.ends.remote);
  if ((!may_be_routed || !find_way(u, d.ends.remote, d.ends.fib_index, way)) &&
      !find_group_way(u, c, d.ends.remote, from, d.ends.fib_index, by, way))
    return false;
  const IpAddress source = way.ends.local;
  way.ends = d.ends;
  way.ends.local_port = c.ends.local_port;
  if (!names_source) way.ends.local = has_source ? own : source;
  return true;
}

// Whether the packet fits the way as the socket wants it, and whether it is marked so that routers
// must not split it.
Sent fit(const Connection& c, const Datagram& d, uint32_t packet, Way& way) noexcept {
  const bool is_ip4 = way.ends.remote.is_ip4;
  const PathMtu mode = is_ip4 ? c.ip4_path_mtu : c.ip6_path_mtu;
  const uint32_t most = asks_path(mode) ? way.mtu() : way.link_mtu;
  const bool is_refused = mode == PathMtu::kDo || mode == PathMtu::kProbe ||
                          mode == PathMtu::kInterface ||
                          (!is_ip4 && (c.dont_fragment6 || (d.flags & kDatagramWhole)));
  if (is_refused && packet > most) return Sent::kTooBig;
  const bool has_df = mode == PathMtu::kWant || mode == PathMtu::kDo || mode == PathMtu::kProbe;
  way.may_fragment = is_ip4 && (!has_df || packet > most);
  // What is too big for the link is split behind it; here, what a router has said is too big.
  return !is_ip4 && most < way.link_mtu && packet > most ? Sent::kFragmented : Sent::kSent;
}

Sent decide(UdpWorker& u, Connection& c, const Datagram& d, uint32_t length, Way& way) noexcept {
  const bool is_named = d.flags & kDatagramRemote;
  if (!is_named && !c.has_peer()) return Sent::kNoDestination;
  if (is_named) {
    if (!c.may_reach(d.ends.remote.is_ip4)) return Sent::kOtherFamily;
    if (!way_to(u, c, d, way)) return Sent::kNoRoute;
  } else if (!find_way_to_peer(u, c, way)) {
    return Sent::kNoRoute;
  }
  if (way.is_broadcast && !c.broadcast) return Sent::kNotBroadcast;
  const bool is_ip4 = way.ends.remote.is_ip4;
  const uint32_t payload = length + uint32_t{sizeof(UdpHeader)};
  const uint32_t packet =
      payload + (is_ip4 ? uint32_t{sizeof(Ip4Header)} : uint32_t{sizeof(Ip6Header)});
  if ((is_ip4 ? packet : payload) > kMaxIpPacket) return Sent::kTooLong;
  if (way.is_group && (d.flags & kDatagramTtl) && d.ttl == 0) return Sent::kLoopedOnly;
  return fit(c, d, packet, way);
}

// Whether sockets of this host are to have it, too.
bool is_looped(UdpWorker& u, const Connection& c, const Way& way) noexcept {
  if (way.is_broadcast) return true;
  return (way.ends.remote.is_ip4 ? c.ip4_group_loop : c.ip6_group_loop) &&
         u.w.net->hears_group(u.w, way.tx_if, way.ends.remote);
}

// Why a datagram was not sent. Of one that names its destination only who wants to hear of all
// errors is told, as a call that concerns another destination must not fail of it; but for what is
// a mistake of the program's.
void tell(UdpWorker& u, const Connection& c, const Datagram& d, Sent verdict, const Way& way,
          const Buffer& b) noexcept {
  const bool is_named = d.flags & kDatagramRemote;
  const bool is_ip4 = is_named ? d.ends.remote.is_ip4 : c.ends.remote.is_ip4;
  const bool wants_all = c.wants_errors(is_ip4);
  const SessionOps& sessions = *u.w.sessions;
  if (is_named && verdict == Sent::kNoRoute) sessions.unreachable(u.w, c.session);
  if (verdict == Sent::kNotBroadcast || (verdict == Sent::kTooBig && wants_all)) {
    DatagramError e;
    e.ends = way.ends;
    e.error = verdict == Sent::kTooBig ? EMSGSIZE : EACCES;
    e.origin = 1;  // SO_EE_ORIGIN_LOCAL
    e.info = verdict == Sent::kTooBig ? way.mtu() : 0;
    (void)sessions.datagram_error(u.w, c.session, e, b, 0, b.length());
  } else if (!wants_all && (is_named || !c.has_peer())) {
    return;
  } else if (verdict == Sent::kTooBig || verdict == Sent::kTooLong) {
    sessions.soft_error(u.w, c.session, ResetReason::kMessageSize);
  } else if (verdict == Sent::kNoRoute) {
    sessions.soft_error(u.w, c.session, ResetReason::kUnreachable);
  }
}

uint8_t ttl_of(const Datagram& d, const Way& way) noexcept {
  if (d.flags & kDatagramTtl) return d.ttl;
  return way.is_group && !way.is_broadcast ? 1 : kDefaultTtl;  // RFC 1112 section 6.1
}

}  // namespace

// The route is looked up when something about routes has changed.
bool find_way(UdpWorker& u, const IpAddress& to, uint32_t fib_index, Way& way) noexcept {
  Destination& d = u.destinations.get(to, fib_index, u.w.now);
  const uint32_t generation = *u.w.net->generation;
  if (d.route_generation != generation || d.mtu == 0) [[unlikely]] {
    RouteInfo route;
    d.mtu = 0;
    if (u.w.net->route(u.w, to, fib_index, &route) != Status::kOk) return false;
    d.route_generation = generation;
    d.adjacency = route.is_local ? kNoIndex : route.adjacency;
    d.tx_if = route.is_local ? kNoIndex : route.tx_if;
    d.mtu = route.mtu;
    d.source = route.source;
  }
  way.ends.local = d.source;
  way.ends.remote = to;
  way.ends.fib_index = fib_index;
  way.adjacency = d.adjacency;
  way.tx_if = d.tx_if;
  way.link_mtu = d.mtu;
  way.pmtu = d.path_mtu(u.w.now);
  return true;
}

bool find_group_way(UdpWorker& u, const Connection& c, const IpAddress& to, const IpAddress& source,
                    uint32_t fib_index, IfIndex by, Way& way) noexcept {
  GroupDestination d;
  d.to = to;
  d.source = source;
  d.fib_index = fib_index;
  d.interface = by;
  if (by == kNoIndex && is_multicast(to)) d.interface = to.is_ip4 ? c.ip4_group_if : c.ip6_group_if;
  RouteInfo route;
  if (u.w.net->route_group(u.w, d, &route) != Status::kOk) return false;
  way.ends.local = route.source;
  way.ends.remote = to;
  way.ends.fib_index = fib_index;
  way.adjacency = route.adjacency;
  way.tx_if = route.tx_if;
  way.link_mtu = route.mtu;
  way.is_broadcast = route.is_broadcast;
  way.is_group = is_multicast(to) || route.is_broadcast;
  way.pmtu = way.is_group ? 0 : u.destinations.get(to, fib_index, u.w.now).path_mtu(u.w.now);
  if (route.is_local) way.adjacency = kNoIndex;
  return true;
}

// Kept in the connection, so that many peers do not contend for the table.
bool find_way_to_peer(UdpWorker& u, Connection& c, Way& way) noexcept {
  if (c.has_group_peer) [[unlikely]] {
    const IpAddress from = is_unicast(c.ends.local) ? c.ends.local : IpAddress{};
    if (!find_group_way(u, c, c.ends.remote, from, c.ends.fib_index, c.interface, way))
      return false;
    const IpAddress source = way.ends.local;
    way.ends = c.ends;
    if (!is_unicast(way.ends.local)) way.ends.local = source;
    return true;
  }
  const uint32_t generation = *u.w.net->generation;
  if (c.route_generation != generation || c.mtu == 0) [[unlikely]] {
    c.mtu = 0;
    const Endpoints& e = c.ends;
    if (!(c.interface == kNoIndex
              ? find_way(u, e.remote, e.fib_index, way)
              : find_group_way(u, c, e.remote, e.local, e.fib_index, c.interface, way)))
      return false;
    c.route_generation = generation;
    c.adjacency = way.adjacency;
    c.tx_if = way.tx_if;
    c.mtu = way.link_mtu;
  }
  if (c.pmtu_news != u.pmtu_news) [[unlikely]] {
    c.pmtu_news = u.pmtu_news;
    // What it has heard stays, also when the table has forgotten it.
    if (const Destination* d = u.destinations.find(c.ends.remote, c.ends.fib_index))
      if (const uint32_t pmtu = d->path_mtu(u.w.now); pmtu != 0) {
        c.pmtu = pmtu;
        c.pmtu_until = d->pmtu_until;
      }
  }
  if (c.pmtu != 0 && u.w.now >= c.pmtu_until) c.pmtu = 0;
  way.ends = c.ends;
  way.adjacency = c.adjacency;
  way.tx_if = c.tx_if;
  way.link_mtu = c.mtu;
  way.pmtu = c.pmtu;
  return true;
}

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
    const bool is_sent = verdict == Sent::kSent || verdict == Sent::kFragmented;
    if (is_sent || verdict == Sent::kLoopedOnly) [[likely]] {
      way.no_checksum = d.flags & kDatagramNoChecksum;
      const uint8_t own_tos = way.ends.remote.is_ip4 ? c->ip4_tos : c->ip6_class;
      push_headers(u, b, way, d.flags & kDatagramTos ? d.tos : own_tos, ttl_of(d, way));
      if (way.is_group && is_looped(u, *c, way)) [[unlikely]]
        loop_back(u, b, way.tx_if);
      if (const uint32_t mtu = way.mtu(); verdict == Sent::kFragmented)
        std::memcpy(b.opaque + kMtuAt, &mtu, sizeof mtu);
      ++c->sent;
    } else {
      tell(u, *c, d, verdict, way, b);
    }
    const IpAddress& to = d.flags & kDatagramRemote ? d.ends.remote : c->ends.remote;
    batch.add(b, to.is_ip4, verdict);
  }
}

}  // namespace loom::udp
