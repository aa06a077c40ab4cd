// What transports ask on a worker: the way to a destination, and whether an address is ours.
#include "net/net_ops.h"

#include "net/state.h"

namespace loom {
namespace {

// A packet to ourselves meets no wire: any size, no checksums.
constexpr uint32_t kLocalMtu = 65'535;
constexpr uint32_t kAllCaps =
    kCapTxIp4Checksum | kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;

// By an adjacency that a table has, or an interface.
Status route_by(const NetState& net, uint32_t adjacency, const IpAddress& destination,
                RouteInfo* out) noexcept {
  RouteInfo r;
  r.adjacency = adjacency;
  const Adjacency a = net.adjacencies.read(adjacency);
  if (a.kind == AdjacencyKind::kLocal) {
    r.is_local = true;
    r.mtu = kLocalMtu;
    r.caps = kAllCaps;
    r.source = destination;
    *out = r;
    return Status::kOk;
  }
  if (a.kind == AdjacencyKind::kGlean) {
    const uint32_t neighbor = net.neighbors.find_adjacency(a.tx_if, destination);
    if (neighbor != kNoIndex) r.adjacency = neighbor;
  } else if (a.kind != AdjacencyKind::kRewrite && a.kind != AdjacencyKind::kIncomplete) {
    return Status::kUnreachable;
  }
  const Interface* f = net.interfaces.find(a.tx_if);
  if (!f || !f->is_up()) return Status::kUnreachable;
  const IpAddress* source = f->address_view().source_for(destination);
  if (!source) return Status::kUnreachable;
  r.tx_if = a.tx_if;
  r.mtu = f->mtu_of(destination.is_ip4);
  r.caps = f->caps;
  r.source = *source;
  *out = r;
  return Status::kOk;
}

Status route(Worker& w, const IpAddress& destination, uint32_t fib_index, RouteInfo* out) noexcept {
  const NetState& net = net_state(w);
  return route_by(net, net.routes.lookup(destination, fib_index), destination, out);
}

bool is_local(Worker& w, const IpAddress& address, uint32_t fib_index) noexcept {
  return net_state(w).routes.is_local(address, fib_index);
}

bool is_multicast(const IpAddress& a) noexcept {
  return a.is_ip4 ? a.ip4().is_multicast() : a.ip6().is_multicast();
}

bool is_usable(const Interface& f, bool is_ip4, uint32_t fib_index) noexcept {
  const auto& fib = is_ip4 ? f.ip4_fib_index : f.ip6_fib_index;
  return f.is_up() && fib.load(std::memory_order_relaxed) == fib_index;
}

// The interface that a group's packets leave by: the one that is named, or that has the source, or
// that a route to the group leads to, or by which the routing table reaches what lies behind
// routers, or the first that has an address.
const Interface* interface_of(const NetState& net, const GroupDestination& d) noexcept {
  const bool is_ip4 = d.to.is_ip4;
  if (d.interface != kNoIndex) {
    const Interface* f = net.interfaces.find(d.interface);
    return f && is_usable(*f, is_ip4, d.fib_index) ? f : nullptr;
  }
  const Interface *owner = nullptr, *first = nullptr;
  net.interfaces.for_each([&](const Interface& f) {
    if (!is_usable(f, is_ip4, d.fib_index) || f.is_loopback) return;
    const AddressList& addresses = f.address_view();
    if (!owner && !d.source.is_zero() && addresses.has(d.source)) owner = &f;
    if (!first && addresses.source_for(d.to)) first = &f;
  });
  // A loopback interface's address names none of them.
  if (owner || (!d.source.is_zero() && !net.routes.is_local(d.source, d.fib_index))) return owner;
  const IpAddress beyond = is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
  for (const IpAddress& to : {d.to, beyond}) {
    const Adjacency a = net.adjacencies.read(net.routes.lookup(to, d.fib_index));
    const Interface* f = a.tx_if == kNoIndex ? nullptr : net.interfaces.find(a.tx_if);
    if (f && !f->is_loopback && is_usable(*f, is_ip4, d.fib_index)) return f;
  }
  return first;
}

// Link-local addresses are looked up on their link (RFC 4291 section 2.5.6), as by ip6-lookup.
Status route_on(const NetState& net, const GroupDestination& d, RouteInfo* out) noexcept {
  const Interface* f = net.interfaces.find(d.interface);
  if (!f || !is_usable(*f, d.to.is_ip4, d.fib_index)) return Status::kUnreachable;
  const bool is_on_link = !d.to.is_ip4 && d.to.ip6().is_link_local();
  uint32_t adjacency = f->glean_adjacency;
  if (is_on_link) {
    if (f->address_view().has(d.to)) adjacency = kAdjacencyLocal;
  } else {
    const uint32_t found = net.routes.lookup(d.to, d.fib_index);
    const Adjacency a = net.adjacencies.read(found);
    if (a.kind == AdjacencyKind::kLocal || a.tx_if == d.interface) adjacency = found;
  }
  const Status s = route_by(net, adjacency, d.to, out);
  if (s == Status::kOk && out->is_local) out->tx_if = d.interface;
  return s;
}

Status route_group(Worker& w, const GroupDestination& d, RouteInfo* out) noexcept {
  const NetState& net = net_state(w);
  const Interface* f = nullptr;
  RouteInfo r;
  if (is_multicast(d.to)) {
    f = interface_of(net, d);
    if (f) r.adjacency = d.to.is_ip4 ? f->group4_adjacency : f->group6_adjacency;
  } else if (d.to.is_ip4) {
    const Adjacency a = net.adjacencies.read(net.routes.lookup(d.to, d.fib_index));
    if (a.kind != AdjacencyKind::kBroadcast)
      return d.interface == kNoIndex ? Status::kUnreachable : route_on(net, d, out);
    f = a.tx_if == kNoIndex ? interface_of(net, d) : net.interfaces.find(a.tx_if);
    if (f) r.adjacency = f->broadcast_adjacency;
    r.is_broadcast = true;
  } else if (d.interface != kNoIndex) {
    return route_on(net, d, out);
  }
  if (!f || !f->is_up() || r.adjacency == kNoIndex) return Status::kUnreachable;
  const IpAddress* source = f->address_view().source_for(d.to);
  if (!source) return Status::kUnreachable;
  r.tx_if = f->index;
  r.mtu = f->mtu_of(d.to.is_ip4);
  r.caps = f->caps;
  r.source = *source;
  *out = r;
  return Status::kOk;
}

bool hears_group(Worker& w, IfIndex interface, const IpAddress& group) noexcept {
  return net_state(w).groups->hears(interface, group);
}

// Worker 0 tells the neighbours.
Status listen_group(Worker& w, uint64_t socket, IfIndex interface, const IpAddress& group,
                    const GroupFilter& filter) noexcept {
  NetState& net = net_state(w);
  if (!is_multicast(group)) return Status::kInvalid;
  if (!net.interfaces.find(interface)) return filter.is_nobody() ? Status::kOk : Status::kNotFound;
  const GroupId id{interface, group};
  const Status s = net.groups->listen(socket, id, filter);
  if (s != Status::kOk) return s;
  if (w.index == 0)
    net.group_reports.changed(w, id);
  else
    net.engine.post_to_control([&net, id] {
      net.engine.run_on_worker(0, [&](Worker& first) { net.group_reports.changed(first, id); });
    });
  return s;
}

}  // namespace

Status source_on(Worker& w, IfIndex index, const IpAddress& destination, IpAddress* out) noexcept {
  const Interface* f = net_state(w).interfaces.find(index);
  const IpAddress* source = f ? f->address_view().source_for(destination) : nullptr;
  if (!source) return Status::kUnreachable;
  *out = *source;
  return Status::kOk;
}

bool has_address(Worker& w, IfIndex index, const IpAddress& address) noexcept {
  const Interface* f = net_state(w).interfaces.find(index);
  return f && f->address_view().has(address);
}

bool has_interface(Worker& w, IfIndex index) noexcept {
  return net_state(w).interfaces.find(index) != nullptr;
}

NetOps net_ops(NetState& state) {
  return {.struct_size = sizeof(NetOps),
          .route = route,
          .is_local = is_local,
          .generation = &state.generation,
          .route_group = route_group,
          .listen_group = listen_group,
          .hears_group = hears_group};
}

}  // namespace loom
