// Routes: ip_route_add_del, ip_route_dump, ip_route_lookup. A route here has one path.
#include "ip.api.h"
#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "net/state.h"

namespace loom {
namespace {

using PathType = api::FibPathType;
using PathFlags = api::FibPathFlags;

// --- From the client.

// Fills in where the route goes. The return code.
int32_t read_path(Net& net, const api::FibPath& path, Route& route) {
  if (path.type != PathType::kFibApiPathTypeNormal && path.type != PathType::kFibApiPathTypeDrop)
    return kApiUnsupported;
  if (path.n_labels != 0) return kApiUnsupported;
  if (path.type == PathType::kFibApiPathTypeDrop) {
    route.is_drop = true;
    return 0;
  }
  const bool is_ip4 = route.prefix.address.is_ip4;
  // A next hop is always on an interface's subnet; one that is itself reached by a route is not
  // resolved.
  if (path.flags != PathFlags::kFibApiPathFlagNone &&
      path.flags != PathFlags::kFibApiPathFlagResolveViaAttached)
    return kApiUnsupported;
  if (path.proto != (is_ip4 ? api::FibPathNhProto::kFibApiPathNhProtoIp4
                            : api::FibPathNhProto::kFibApiPathNhProtoIp6))
    return kApiFibPathUnsupportedNhProto;
  route.gateway = from_api(path.nh.address, is_ip4);
  route.tx_if = path.sw_if_index;
  if (route.tx_if == kApiNone) {
    if (route.gateway.is_zero()) return kApiNoMatchingInterface;
    if (!net.fib_index(path.table_id, !is_ip4)) return kApiNoSuchFib;
    route.gateway_table = path.table_id;
  } else if (!net.state().interfaces.find(route.tx_if)) {
    return kApiInvalidSwIfIndex;
  }
  if (route.gateway.is_zero()) route.gateway = {};  // of any family
  return 0;
}

// The configured source of that very prefix; null: there is none.
const RouteSource* find_configured(Net& net, const Route& route) {
  const auto* entry = net.state().routes.find_exact(route.prefix, route.table);
  if (!entry) return nullptr;
  for (const RouteSource& source : entry->second)
    if (source.origin == RouteOrigin::kConfigured) return &source;
  return nullptr;
}

// Without an interface, any that the gateway's table has is meant.
bool is_same_path(Net& net, const Route& wanted, const Route& had) {
  if (wanted.is_drop != had.is_drop || wanted.gateway != had.gateway) return false;
  if (wanted.is_drop || wanted.tx_if != kNoIndex) return wanted.tx_if == had.tx_if;
  const Interface* f = net.state().interfaces.find(had.tx_if);
  return f &&
         f->table_of(wanted.prefix.address.is_ip4) == wanted.gateway_table.value_or(wanted.table);
}

int32_t add(Net& net, const api::IpRouteAddDel& r, Route& route) {
  const auto& paths = r.route.paths;
  if (paths.empty()) return kApiNoPathsInRoute;
  if (paths.size() > 1) return kApiUnsupported;
  if (const int32_t bad = read_path(net, paths[0], route)) return bad;
  if (r.is_multipath)
    if (const RouteSource* had = find_configured(net, route))
      return is_same_path(net, route, had->route) ? 0 : kApiUnsupported;
  const auto added = net.add_route(route);
  if (added) return 0;
  const Status why = added.error().code;
  return why == Status::kUnreachable ? kApiNextHopNotInFib : api_retval(why);
}

int32_t del(Net& net, const api::IpRouteAddDel& r, Route& route) {
  const RouteSource* had = find_configured(net, route);
  if (!had) return kApiNoSuchEntry;
  if (r.is_multipath) {
    const auto& paths = r.route.paths;
    if (paths.empty()) return kApiNoPathsInRoute;
    if (paths.size() > 1) return kApiNextHopNotFoundMp;
    if (const int32_t bad = read_path(net, paths[0], route)) return bad;
    if (!is_same_path(net, route, had->route)) return kApiNextHopNotFoundMp;
  }
  return api_retval(net.del_route(route));
}

int32_t change(Net& net, const api::IpRouteAddDel& r) {
  Route route;
  route.table = r.route.table_id;
  if (const int32_t bad = from_api(r.route.prefix, route.prefix)) return bad;
  if (!net.fib_index(route.table, !route.prefix.address.is_ip4)) return kApiNoSuchFib;
  return r.is_add ? add(net, r, route) : del(net, r, route);
}

// --- To the client.

api::FibPath path_of(const RouteSource& source, bool is_ip4) {
  const Route& route = source.route;
  api::FibPath path;
  path.sw_if_index = route.tx_if;
  path.table_id = route.gateway_table.value_or(route.table);
  path.weight = 1;
  path.type = source.is_local ? PathType::kFibApiPathTypeLocal
              : route.is_drop ? PathType::kFibApiPathTypeDrop
                              : PathType::kFibApiPathTypeNormal;
  path.proto = is_ip4 ? api::FibPathNhProto::kFibApiPathNhProtoIp4
                      : api::FibPathNhProto::kFibApiPathNhProtoIp6;
  if (!route.gateway.is_zero()) path.nh.address = union_of(route.gateway);
  return path;
}

// The best of the entry's sources is what packets see.
api::IpRoute route_of(const RouteTables::Entry& entry, uint32_t table) {
  return {.table_id = table,
          .stats_index = kApiNone,
          .prefix = to_api(entry.first),
          .paths = {path_of(entry.second.front(), entry.first.address.is_ip4)}};
}

// By key, so that routes may come and go meanwhile: nothing is copied but the one that is sent.
struct RouteWalk {
  const RouteTables& routes;
  api::IpRouteDump request;
  std::optional<IpPrefix> sent{};

  ApiStep next(ApiCall& call) {
    const auto& table = request.table;
    const auto* entry = routes.next(table.table_id, table.is_ip6, sent ? &*sent : nullptr);
    if (!entry) return ApiStep::kEnd;
    sent = entry->first;
    call.send(
        api::IpRouteDetails{.context = request.context, .route = route_of(*entry, table.table_id)});
    return ApiStep::kItem;
  }
};

api::IpRouteLookupReply lookup(Net& net, const api::IpRouteLookup& r) {
  IpPrefix prefix;
  if (const int32_t bad = from_api(r.prefix, prefix)) return {.retval = bad};
  if (!net.fib_index(r.table_id, !prefix.address.is_ip4)) return {.retval = kApiNoSuchFib};
  const auto& routes = net.state().routes;
  const auto* entry =
      r.exact ? routes.find_exact(prefix, r.table_id) : routes.find_best(prefix, r.table_id);
  if (!entry) return {.retval = kApiNoSuchEntry};
  return {.retval = 0, .route = route_of(*entry, r.table_id)};
}

}  // namespace

void add_route_messages(ApiRegistry& registry, Net& net) {
  registry.handle<api::IpRouteAddDel, api::IpRouteAddDelReply>(
      [&net](ApiCall&, const api::IpRouteAddDel& request) {
        return api::IpRouteAddDelReply{.retval = change(net, request), .stats_index = kApiNone};
      });
  registry.walk<api::IpRouteDump>([&net](const api::IpRouteDump& request) {
    return RouteWalk{net.state().routes, request};
  });
  registry.handle<api::IpRouteLookup, api::IpRouteLookupReply>(
      [&net](ApiCall&, const api::IpRouteLookup& request) { return lookup(net, request); });
}

}  // namespace loom
