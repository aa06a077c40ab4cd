// ip route, ip neighbor, ip table, show ip fib, show ip neighbors, ping.
#include <algorithm>
#include <cstdio>

#include <hostloom/config.h>

#include "net/cli/net_commands.h"

namespace loom {
namespace {

std::string interface_name(Net& net, IfIndex index) {
  const auto i = net.interface(index);
  return i ? i->name : "-";
}

// PREFIX via ADDRESS [NAME] | PREFIX via NAME | PREFIX drop, each with [table N], the first with
// [next-hop-table N].
Result<Route> parse_route(Net& net, CliArgs& args, bool needs_way) {
  Route r;
  const auto prefix = parse_prefix(args);
  if (!prefix) return prefix.error();
  r.prefix = *prefix;
  bool has_way = false;
  while (!args.done()) {
    if (args.accept("table")) {
      const auto table = args.number("table", 0, ~0u);
      if (!table) return table.error();
      r.table = static_cast<uint32_t>(*table);
    } else if (args.accept("next-hop-table")) {
      const auto table = args.number("table", 0, ~0u);
      if (!table) return table.error();
      r.gateway_table = static_cast<uint32_t>(*table);
    } else if (!has_way && args.accept("drop")) {
      r.is_drop = has_way = true;
    } else if (!has_way && args.accept("via")) {
      has_way = true;
      if (const auto gateway = IpAddress::parse(args.peek())) {
        r.gateway = *gateway;
        args.next();
        if (!args.done() && args.peek() != "table" && args.peek() != "next-hop-table") {
          const auto index = parse_interface(net, args);
          if (!index) return index.error();
          r.tx_if = *index;
        }
      } else {
        const auto index = parse_interface(net, args);
        if (!index) return index.error();
        r.tx_if = *index;
      }
    } else {
      return args.unknown();
    }
  }
  if (needs_way && !has_way)
    return error(Status::kInvalid, "missing 'via ADDRESS', 'via INTERFACE' or 'drop' at the end");
  return r;
}

Result<void> add_route(Host&, void* context, CliArgs& args, CliReply&) {
  const auto route = parse_route(net_of(context), args, true);
  if (!route) return route.error();
  return net_of(context).add_route(*route);
}

Result<void> del_route(Host&, void* context, CliArgs& args, CliReply&) {
  const auto route = parse_route(net_of(context), args, false);
  if (!route) return route.error();
  return net_of(context).del_route(*route);
}

Result<void> change_table(void* context, CliArgs& args, bool is_add, bool is_ip6) {
  const auto table = args.number("table", 0, ~0u);
  if (!table) return table.error();
  if (auto ok = expect_end(args); !ok) return ok;
  const auto number = static_cast<uint32_t>(*table);
  return is_add ? net_of(context).add_table(number, is_ip6)
                : net_of(context).del_table(number, is_ip6);
}
template <bool is_add, bool is_ip6>
Result<void> change_table(Host&, void* context, CliArgs& args, CliReply&) {
  return change_table(context, args, is_add, is_ip6);
}

Result<void> show_fib(Net& net, bool is_ip6, CliArgs& args, CliReply& reply) {
  std::vector<uint32_t> tables = net.tables(is_ip6);
  if (args.accept("table")) {
    const auto table = args.number("table", 0, ~0u);
    if (!table) return table.error();
    tables = {static_cast<uint32_t>(*table)};
    if (const auto found = net.fib_index(tables[0], is_ip6); !found) return found.error();
  }
  if (auto ok = expect_end(args); !ok) return ok;
  auto& t = reply.table("routes", {"Table", "Prefix", "Type", "Gateway", "Interface", "Origin"});
  for (const uint32_t table : tables) {
    for (const auto& l : net.routes(table, is_ip6)) {
      const Route& r = l.route;
      const char* type = l.is_local                            ? "local"
                         : r.is_drop                           ? "drop"
                         : !r.gateway.is_zero()                ? "via"
                         : l.origin == RouteOrigin::kInterface ? "connected"
                                                               : "interface";
      t.rows.push_back({std::to_string(table), r.prefix.str(), type,
                        r.gateway.is_zero() ? "-" : r.gateway.str(), interface_name(net, r.tx_if),
                        l.origin == RouteOrigin::kConfigured ? "configured" : "interface"});
    }
  }
  return {};
}

Result<void> show_ip_fib(Host&, void* context, CliArgs& args, CliReply& reply) {
  return show_fib(net_of(context), false, args, reply);
}
Result<void> show_ip6_fib(Host&, void* context, CliArgs& args, CliReply& reply) {
  return show_fib(net_of(context), true, args, reply);
}

const char* state_text(NeighborState s) {
  switch (s) {
    case NeighborState::kIncomplete:
      return "incomplete";
    case NeighborState::kReachable:
      return "reachable";
    case NeighborState::kStale:
      return "stale";
    case NeighborState::kProbe:
      return "probe";
    case NeighborState::kStatic:
      return "static";
  }
  return "?";
}

Result<void> show_neighbors(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (auto ok = expect_end(args); !ok) return ok;
  Net& net = net_of(context);
  auto& t = reply.table("neighbors", {"Address", "MAC", "State", "Age(s)", "Interface"});
  auto all = net.neighbors();
  std::sort(all.begin(), all.end(), [](const NeighborListing& a, const NeighborListing& b) {
    return std::tie(a.interface, a.address) < std::tie(b.interface, b.address);
  });
  for (const auto& n : all)
    t.rows.push_back({n.address.str(), n.state == NeighborState::kIncomplete ? "-" : n.mac.str(),
                      state_text(n.state), std::to_string(n.age / kSecond),
                      interface_name(net, n.interface)});
  return {};
}

Result<void> add_neighbor(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto address = parse_address(args);
  if (!address) return address.error();
  const auto mac = parse_mac(args);
  if (!mac) return mac.error();
  args.accept("static");
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).add_neighbor(*index, *address, *mac);
}

Result<void> del_neighbor(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto address = parse_address(args);
  if (!address) return address.error();
  if (!args.done()) args.next();  // the MAC address, as in VPP's command; the key is enough
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).del_neighbor(*index, *address);
}

Result<void> describe(const IpAddress& address, const PingOutcome& o, CliReply& reply) {
  if (o.n_sent == 0)
    return error(o.failure, "no way to " + address.str() + ": " + status_name(o.failure));
  for (const auto& r : o.replies) {
    char line[160];
    std::snprintf(line, sizeof line, "%u bytes from %s: icmp_seq=%u ttl=%u time=%.4f ms", r.bytes,
                  address.str().c_str(), r.sequence + 1, r.ttl, to_seconds(r.rtt) * 1e3);
    reply.line(line);
  }
  const std::size_t lost = o.n_sent - std::min<std::size_t>(o.n_sent, o.replies.size());
  reply.line("Statistics: " + std::to_string(o.n_sent) + " sent, " +
             std::to_string(o.replies.size()) + " received, " +
             std::to_string(lost * 100 / o.n_sent) + "% packet loss");
  return {};
}

Result<void> ping(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto address = parse_address(args);
  if (!address) return address.error();
  uint64_t count = 5, table = 0;
  double interval = 1;
  while (!args.done()) {
    if (args.accept("count") || args.accept("repeat")) {
      const auto n = args.number("count", 1, Net::kMaxPingRequests);
      if (!n) return n.error();
      count = *n;
    } else if (args.accept("table") || args.accept("table-id")) {
      const auto n = args.number("table", 0, ~0u);
      if (!n) return n.error();
      table = *n;
    } else if (args.accept("interval")) {
      const auto word = args.text("interval");
      if (!word) return word.error();
      const std::string text(*word);
      char* end = nullptr;
      interval = std::strtod(text.c_str(), &end);
      if (text.empty() || *end || !(interval >= 0 && interval <= 60))
        return error(Status::kInvalid, "interval '" + text + "' is not from 0 to 60 seconds");
    } else {
      return args.unknown();
    }
  }
  const auto later = reply.later();
  const auto started = net_of(context).start_ping(
      *address, static_cast<uint32_t>(count), from_seconds(interval), static_cast<uint32_t>(table),
      [later, to = *address](const PingOutcome& outcome) {
        if (later) later->finish(describe(to, outcome, later->reply()));
      });
  if (!later && started) reply.line("requests go to " + address->str() + "; nobody waits here");
  if (!started && !later) return started.error();
  if (!started) later->finish(started.error());
  return {};
}

Result<void> flush_neighbors(Host&, void* context, CliArgs& args, CliReply&) {
  const auto which = parse_last_interface(net_of(context), args);
  if (!which) return which.error();
  for (const bool is_ip4 : {true, false})
    if (auto ok = net_of(context).flush_neighbors(*which, is_ip4); !ok) return ok;
  return {};
}

Result<void> set_neighbor_config(Host&, void* context, CliArgs& args, CliReply&) {
  const bool is_ip4 = args.accept("ip4");
  if (!is_ip4 && !args.accept("ip6")) return args.unknown();
  NeighborLimits limits = net_of(context).neighbor_limits(is_ip4);
  while (!args.done()) {
    if (args.accept("limit")) {
      const auto n = args.number("limit", 1, ~0u);
      if (!n) return n.error();
      limits.max_number = static_cast<uint32_t>(*n);
    } else if (args.accept("age")) {
      const auto n = args.number("age", 0, ~0u);
      if (!n) return n.error();
      limits.max_age = static_cast<TimeNs>(*n) * kSecond;
    } else if (args.accept("recycle")) {
      limits.can_evict = true;
    } else if (args.accept("norecycle")) {
      limits.can_evict = false;
    } else {
      return args.unknown();
    }
  }
  return net_of(context).set_neighbor_limits(is_ip4, limits);
}

Result<void> show_neighbor_config(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (auto ok = expect_end(args); !ok) return ok;
  auto& t = reply.table("neighbor-config", {"Family", "Limit", "Age(s)", "Recycle"});
  for (const bool is_ip4 : {true, false}) {
    const NeighborLimits l = net_of(context).neighbor_limits(is_ip4);
    t.rows.push_back({is_ip4 ? "ip4" : "ip6", std::to_string(l.max_number),
                      std::to_string(l.max_age / kSecond), l.can_evict ? "yes" : "no"});
  }
  return {};
}

constexpr CliCommand kCommands[] = {
    {.path = "ip route add",
     .syntax = "PREFIX via ADDRESS [INTERFACE] | PREFIX via INTERFACE | PREFIX drop, [table N] "
               "[next-hop-table N]",
     .help = "Adds or replaces a route, IPv4 or IPv6.",
     .run = add_route},
    {.path = "ip route del",
     .syntax = "PREFIX [via ...] [table N]",
     .help = "Removes a configured route.",
     .run = del_route},
    {.path = "ip table add",
     .syntax = "N",
     .help = "Makes IPv4 routing table N.",
     .run = change_table<true, false>},
    {.path = "ip6 table add",
     .syntax = "N",
     .help = "Makes IPv6 routing table N.",
     .run = change_table<true, true>},
    {.path = "ip table del",
     .syntax = "N",
     .help = "Removes an empty IPv4 routing table.",
     .run = change_table<false, false>},
    {.path = "ip6 table del",
     .syntax = "N",
     .help = "Removes an empty IPv6 routing table.",
     .run = change_table<false, true>},
    {.path = "ip neighbor add",
     .syntax = "INTERFACE ADDRESS MAC [static]",
     .help = "Sets a neighbour's link-layer address for good.",
     .run = add_neighbor},
    {.path = "ip neighbor del",
     .syntax = "INTERFACE ADDRESS",
     .help = "Forgets a neighbour.",
     .run = del_neighbor},
    {.path = "ip neighbor flush",
     .syntax = "[INTERFACE]",
     .help = "Forgets the neighbours of one or all interfaces.",
     .run = flush_neighbors},
    {.path = "set ip neighbor-config",
     .syntax = "ip4|ip6 [limit N] [age SECONDS] [recycle|norecycle]",
     .help = "How many neighbours there may be, how long unused ones are kept (0: for ever), and "
             "whether new ones take the place of old ones.",
     .run = set_neighbor_config},
    {.path = "show ip neighbor-config",
     .syntax = "",
     .help = "Limits of the neighbour table.",
     .run = show_neighbor_config},
    {.path = "show ip fib", .syntax = "[table N]", .help = "IPv4 routes.", .run = show_ip_fib},
    {.path = "show ip6 fib", .syntax = "[table N]", .help = "IPv6 routes.", .run = show_ip6_fib},
    {.path = "show ip neighbors",
     .syntax = "",
     .help = "Neighbours of both families (ARP and neighbour discovery).",
     .run = show_neighbors},
    {.path = "ping",
     .syntax = "ADDRESS [count N] [interval SECONDS] [table N]",
     .help = "Sends ICMP echo requests and waits for the answers.",
     .run = ping},
};

}  // namespace

std::span<const CliCommand> ip_commands() { return kCommands; }

}  // namespace loom
