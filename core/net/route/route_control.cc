// Net's routing-table methods, on the control thread.
#include "net/interface/control.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

// The interface of that table whose subnet holds the gateway.
const Interface* interface_towards(const NetState& s, const IpAddress& gateway, uint32_t table) {
  const Interface* found = nullptr;
  s.interfaces.for_each([&](const Interface& f) {
    if (found || f.table_of(gateway.is_ip4) != table) return;
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
  // What happens to those is not the operator's to say: see RouteTables::create_fib and ip6-lookup.
  // A shorter prefix around them leaves them as they are.
  const uint8_t of_groups = r.prefix.address.is_ip4 ? 4 : 8;
  if (is_group(r.prefix.address) && r.prefix.length >= of_groups)
    return error(Status::kInvalid, r.prefix.str() + " is of groups, which are not routed");
  if (r.is_drop) {
    source.adjacency = kAdjacencyBlackhole;
    return source;
  }
  const bool has_gateway = !r.gateway.is_zero();
  if (has_gateway && r.gateway.is_ip4 != r.prefix.address.is_ip4)
    return error(Status::kInvalid,
                 "gateway " + r.gateway.str() + " is of another family than " + r.prefix.str());
  if (is_group(r.gateway))
    return error(Status::kInvalid, "gateway " + r.gateway.str() + " is not a station's address");
  const Interface* f = s.interfaces.find(r.tx_if);
  if (r.tx_if != kNoIndex && !f)
    return error(Status::kNotFound, "there is no interface " + std::to_string(r.tx_if));
  if (!f) {
    if (!has_gateway)
      return error(Status::kInvalid, r.prefix.str() + " needs a gateway, an interface or 'drop'");
    f = interface_towards(s, r.gateway, r.gateway_table.value_or(r.table));
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

}  // namespace

Result<void> Net::add_table(uint32_t table, bool is_ip6, std::string_view name) {
  if (table == kNoIndex)  // what the API's clients say for "none"
    return error(Status::kInvalid, std::to_string(table) + " is not a table's number");
  const auto index = state_->routes.add_table(table, is_ip6, name);
  if (!index) return index.error();
  return {};
}

Result<void> Net::del_table(uint32_t table, bool is_ip6) {
  NetState& s = *state_;
  if (table == 0) return error(Status::kInvalid, "table 0 is always there");
  Result<void> result;
  s.interfaces.for_each([&](const Interface& f) {
    if (f.table_of(!is_ip6) == table)
      result = error(Status::kInUse, f.name + " is in table " + std::to_string(table));
  });
  if (!result) return result;
  for (const auto& user : s.table_users)
    if (const std::string name = user(table, is_ip6); !name.empty())
      return error(Status::kInUse, name + " is in table " + std::to_string(table));
  s.engine.with_barrier([&] { result = s.routes.del_table(table, is_ip6); });
  if (result) s.changed();
  return result;
}

void Net::add_table_user(TableUser user) { state_->table_users.push_back(std::move(user)); }

Result<uint32_t> Net::fib_index(uint32_t table, bool is_ip6) const {
  return state_->routes.find_table(table, is_ip6);
}
std::vector<uint32_t> Net::tables(bool is_ip6) const { return state_->routes.tables(is_ip6); }

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

}  // namespace loom
