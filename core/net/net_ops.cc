// What transports ask on a worker: the way to a destination, and whether an address is ours.
#include "net/net_ops.h"

#include "net/state.h"

namespace loom {
namespace {

// A packet to ourselves meets no wire: any size, no checksums.
constexpr uint32_t kLocalMtu = 65'535;
constexpr uint32_t kAllCaps =
    kCapTxIp4Checksum | kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;

Status route(Worker& w, const IpAddress& destination, uint32_t fib_index, RouteInfo* out) noexcept {
  const NetState& net = net_state(w);
  RouteInfo r;
  r.adjacency = net.routes.lookup(destination, fib_index);
  Adjacency a = net.adjacencies.read(r.adjacency);
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

bool is_local(Worker& w, const IpAddress& address, uint32_t fib_index) noexcept {
  return net_state(w).routes.is_local(address, fib_index);
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

NetOps net_ops(NetState& state) {
  return {.struct_size = sizeof(NetOps),
          .route = route,
          .is_local = is_local,
          .generation = &state.generation};
}

}  // namespace loom
