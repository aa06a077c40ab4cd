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

// PREFIX via ADDRESS [NAME] | PREFIX via NAME | PREFIX drop, each with [table N].
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
    } else if (!has_way && args.accept("drop")) {
      r.is_drop = has_way = true;
    } else if (!has_way && args.accept("via")) {
      has_way = true;
      if (const auto gateway = IpAddress::parse(args.peek())) {
        r.gateway = *gateway;
        args.next();
        if (!args.done() && args.peek() != "table") {
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

Result<void> add_table(Host&, void* context, CliArgs& args, CliReply&) {
  const auto table = args.number("table", 0, ~0u);
  if (!table) return table.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).add_table(static_cast<uint32_t>(*table), false);
}

Result<void> del_table(Host&, void* context, CliArgs& args, CliReply&) {
  const auto table = args.number("table", 0, ~0u);
  if (!table) return table.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).del_table(static_cast<uint32_t>(*table), false);
}

Result<void> show_fib(Net& net, bool is_ip6, CliArgs& args, CliReply& reply) {
  std::vector<uint32_t> tables = net.tables();
  if (args.accept("table")) {
    const auto table = args.number("table", 0, ~0u);
    if (!table) return table.error();
    tables = {static_cast<uint32_t>(*table)};
    if (!net.fib_index(tables[0]))
      return error(Status::kNotFound, "there is no table " + std::to_string(tables[0]));
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

std::optional<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac;
  std::array<unsigned, 6> v{};
  const std::string s(text);
  int used = 0;
  if (std::sscanf(s.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%n", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5],
                  &used) != 6 ||
      static_cast<std::size_t>(used) != s.size())
    return std::nullopt;
  for (std::size_t i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(v[i]);
  return mac;
}

Result<void> add_neighbor(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  const auto address = parse_address(args);
  if (!address) return address.error();
  const auto word = args.text("MAC address");
  if (!word) return word.error();
  const auto mac = parse_mac(*word);
  if (!mac) return error(Status::kInvalid, "'" + std::string(*word) + "' is not a MAC address");
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

Result<void> ping(Host&, void* context, CliArgs& args, CliReply& reply) {
  const auto address = parse_address(args);
  if (!address) return address.error();
  uint64_t count = 5, table = 0;
  double interval = 1;
  // The control thread waits: a bound on how long one command may keep others from running.
  constexpr uint64_t kMostRequests = 100;
  constexpr double kMostSeconds = 60;
  while (!args.done()) {
    if (args.accept("count") || args.accept("repeat")) {
      const auto n = args.number("count", 1, kMostRequests);
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
      if (text.empty() || *end || !(interval >= 0 && interval <= 10))
        return error(Status::kInvalid, "interval '" + text + "' is not from 0 to 10 seconds");
    } else {
      return args.unknown();
    }
  }
  if (static_cast<double>(count) * interval > kMostSeconds)
    return error(Status::kInvalid, "count times interval is above " +
                                       std::to_string(static_cast<int>(kMostSeconds)) + " seconds");
  const auto replies = net_of(context).ping(*address, static_cast<uint32_t>(count),
                                            from_seconds(interval), static_cast<uint32_t>(table));
  if (!replies) return replies.error();
  for (const auto& r : *replies) {
    char line[160];
    std::snprintf(line, sizeof line, "%u bytes from %s: icmp_seq=%u ttl=%u time=%.4f ms", r.bytes,
                  address->str().c_str(), r.sequence + 1, r.ttl, to_seconds(r.rtt) * 1e3);
    reply.line(line);
  }
  const uint64_t lost = count - std::min<uint64_t>(count, replies->size());
  reply.line("Statistics: " + std::to_string(count) + " sent, " + std::to_string(replies->size()) +
             " received, " + std::to_string(lost * 100 / count) + "% packet loss");
  return {};
}

constexpr CliCommand kCommands[] = {
    {.path = "ip route add",
     .syntax = "PREFIX via ADDRESS [NAME] | PREFIX via NAME | PREFIX drop, [table N]",
     .help = "Adds or replaces a route, IPv4 or IPv6.",
     .run = add_route},
    {.path = "ip route del",
     .syntax = "PREFIX [via ...] [table N]",
     .help = "Removes a configured route.",
     .run = del_route},
    {.path = "ip table add",
     .syntax = "N",
     .help = "Makes routing table N, for both families.",
     .run = add_table},
    {.path = "ip table del",
     .syntax = "N",
     .help = "Removes an empty routing table.",
     .run = del_table},
    {.path = "ip neighbor add",
     .syntax = "NAME ADDRESS MAC [static]",
     .help = "Sets a neighbour's link-layer address for good.",
     .run = add_neighbor},
    {.path = "ip neighbor del",
     .syntax = "NAME ADDRESS",
     .help = "Forgets a neighbour.",
     .run = del_neighbor},
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
