// Net's routing-table and neighbour methods, on the control thread.
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

// The interface of that table whose subnet holds the gateway.
const Interface* interface_towards(const NetState& s, const IpAddress& gateway, uint32_t table) {
  const Interface* found = nullptr;
  s.interfaces.for_each([&](const Interface& f) {
    if (found || f.table != table) return;
    for (const auto& a : gateway.is_ip4 ? f.address_list->ip4 : f.address_list->ip6)
      if (contains(a.prefix, gateway)) found = &f;
  });
  return found;
}

// Fills in where the route leads.
Result<RouteSource> resolve(NetState& s, const Route& wanted) {
  RouteSource source{.origin = RouteOrigin::kConfigured, .route = wanted};
  Route& r = source.route;
  const uint8_t most = r.prefix.address.is_ip4 ? 32 : 128;
  if (r.prefix.length > most)
    return error(Status::kInvalid,
                 r.prefix.str() + ": the prefix length is above " + std::to_string(most));
  r.prefix = network_of(r.prefix);
  if (r.is_drop) {
    source.adjacency = kAdjacencyBlackhole;
    return source;
  }
  const bool has_gateway = !r.gateway.is_zero();
  if (has_gateway && r.gateway.is_ip4 != r.prefix.address.is_ip4)
    return error(Status::kInvalid,
                 "gateway " + r.gateway.str() + " is of another family than " + r.prefix.str());
  const Interface* f = s.interfaces.find(r.tx_if);
  if (r.tx_if != kNoIndex && !f)
    return error(Status::kNotFound, "there is no interface " + std::to_string(r.tx_if));
  if (!f) {
    if (!has_gateway)
      return error(Status::kInvalid, r.prefix.str() + " needs a gateway, an interface or 'drop'");
    f = interface_towards(s, r.gateway, r.table);
    if (!f)
      return error(Status::kUnreachable,
                   "gateway " + r.gateway.str() + " is on no interface's subnet");
    r.tx_if = f->index;
  }
  if (has_gateway && f->address_list->has(r.gateway))
    return error(Status::kInvalid, "gateway " + r.gateway.str() + " is this host");
  if (!has_gateway || !f->is_ethernet) {
    source.adjacency = f->glean_adjacency;
    return source;
  }
  s.engine.run_on_worker(
      0, [&](Worker& w) { source.adjacency = s.neighbors.hold(w, f->index, r.gateway); });
  if (source.adjacency == kNoIndex) return error(Status::kNoMemory, "the neighbour table is full");
  source.holds_neighbor = true;
  return source;
}

void release(NetState& s, const RouteSource& source) {
  if (!source.holds_neighbor) return;
  s.engine.run_on_worker(
      0, [&](Worker& w) { s.neighbors.release(w, source.route.tx_if, source.route.gateway); });
}

Error no_interface(IfIndex i) {
  return error(Status::kNotFound, "there is no interface " + std::to_string(i));
}

}  // namespace

Result<void> Net::add_table(uint32_t table, bool) {
  const auto index = state_->routes.add_table(table);
  if (!index) return index.error();
  return {};
}

Result<void> Net::del_table(uint32_t table, bool) {
  NetState& s = *state_;
  if (table == 0) return error(Status::kInvalid, "table 0 is always there");
  Result<void> result;
  s.interfaces.for_each([&](const Interface& f) {
    if (f.table == table)
      result = error(Status::kInUse, f.name + " is in table " + std::to_string(table));
  });
  if (!result) return result;
  s.engine.with_barrier([&] { result = s.routes.del_table(table); });
  if (result) s.changed();
  return result;
}

Result<uint32_t> Net::fib_index(uint32_t table) const { return state_->routes.find_table(table); }
std::vector<uint32_t> Net::tables() const { return state_->routes.tables(); }

Result<void> Net::add_route(const Route& route) {
  NetState& s = *state_;
  const auto source = resolve(s, route);
  if (!source) return source.error();
  RouteSource replaced;
  if (auto ok = s.routes.put(*source, &replaced); !ok) {
    release(s, *source);
    return ok;
  }
  release(s, replaced);
  s.changed();
  return {};
}

Result<void> Net::del_route(const Route& route) {
  NetState& s = *state_;
  const auto taken = s.routes.take(route.prefix, route.table, RouteOrigin::kConfigured, kNoIndex);
  if (!taken) return taken.error();
  release(s, *taken);
  s.changed();
  return {};
}

std::vector<RouteListing> Net::routes(uint32_t table, bool is_ip6) const {
  return state_->routes.list(table, is_ip6);
}

Result<void> Net::add_neighbor(IfIndex index, const IpAddress& address, const MacAddress& mac) {
  NetState& s = *state_;
  const Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  if (!f->is_ethernet) return error(Status::kInvalid, f->name + " has no link-layer addresses");
  if (mac.is_multicast() || mac == MacAddress{})
    return error(Status::kInvalid, mac.str() + " is not a station's address");
  if (f->address_list->has(address))
    return error(Status::kInvalid, address.str() + " is this host");
  Result<void> result;
  s.engine.run_on_worker(
      0, [&](Worker& w) { result = s.neighbors.set_static(w, index, address, mac); });
  return result;
}

Result<void> Net::del_neighbor(IfIndex index, const IpAddress& address) {
  NetState& s = *state_;
  Status status = Status::kOk;
  s.engine.run_on_worker(0, [&](Worker& w) { status = s.neighbors.remove(w, index, address); });
  if (status != Status::kOk)
    return error(status, address.str() + " is no neighbour on interface " + std::to_string(index));
  return {};
}

std::vector<NeighborListing> Net::neighbors() const {
  NetState& s = *state_;
  std::vector<NeighborListing> all;
  s.engine.run_on_worker(0, [&](Worker& w) { all = s.neighbors.list(w.now); });
  return all;
}

}  // namespace loom
