#include "net/route/route_table.h"

#include <algorithm>

namespace loom {

IpPrefix network_of(const IpPrefix& prefix) noexcept {
  IpPrefix out = prefix;
  auto& bytes = out.address.bits.bytes;
  const std::size_t size = prefix.address.is_ip4 ? 4 : 16;
  for (std::size_t i = 0; i < size; ++i) {
    const int bits = std::clamp(static_cast<int>(prefix.length) - static_cast<int>(i) * 8, 0, 8);
    bytes[i] &= static_cast<uint8_t>(0xff00 >> bits);
  }
  return out;
}

bool contains(const IpPrefix& prefix, const IpAddress& address) noexcept {
  return prefix.address.is_ip4 == address.is_ip4 &&
         network_of(prefix) == network_of({address, prefix.length});
}

uint32_t RouteTables::lookup(const IpAddress& a, uint32_t fib_index) const noexcept {
  if (a.is_ip4) {
    const Ip4Fib* fib = fib4(fib_index);
    return fib ? adjacency_of(fib->lookup(a.ip4())) : kAdjacencyNoRoute;
  }
  const Ip6Fib* fib = fib6(fib_index);
  return fib ? adjacency_of(fib->lookup(a.ip6())) : kAdjacencyNoRoute;
}

RouteTables::Table* RouteTables::find(uint32_t table) {
  for (auto& t : tables_)
    if (t && t->number == table) return t.get();
  return nullptr;
}
const RouteTables::Table* RouteTables::find(uint32_t table) const {
  return const_cast<RouteTables*>(this)->find(table);
}

Result<uint32_t> RouteTables::find_table(uint32_t table) const {
  for (uint32_t i = 0; i < kMaxTables; ++i)
    if (tables_[i] && tables_[i]->number == table) return i;
  return error(Status::kNotFound, "there is no table " + std::to_string(table));
}

Result<uint32_t> RouteTables::add_table(uint32_t table) {
  if (const auto index = find_table(table)) return *index;
  const auto slot = std::find(tables_.begin(), tables_.end(), nullptr);
  if (slot == tables_.end())
    return error(Status::kNoMemory, std::to_string(kMaxTables) + " tables are the most");
  auto t = std::make_unique<Table>();
  t->number = table;
  auto fib4 = Ip4Fib::create(defer_);
  if (!fib4) return fib4.error();
  auto fib6 = Ip6Fib::create();
  if (!fib6) return fib6.error();
  t->fib4 = std::move(*fib4);
  t->fib6 = std::move(*fib6);
  // What every host does with broadcast and multicast (RFC 1122 section 3.2.1.3).
  struct Preset {
    const char* prefix;
    uint32_t adjacency;
  };
  for (const Preset p : {Preset{"255.255.255.255/32", kAdjacencyLimitedBroadcast},
                         Preset{"224.0.0.0/4", kAdjacencyBlackhole}})
    if (t->fib4->add(*IpPrefix::parse(p.prefix), p.adjacency) != Status::kOk)
      return error(Status::kNoMemory, "no memory for table " + std::to_string(table));
  const auto index = static_cast<uint32_t>(slot - tables_.begin());
  fibs4_[index].store(t->fib4.get(), std::memory_order_release);
  fibs6_[index].store(t->fib6.get(), std::memory_order_release);
  *slot = std::move(t);
  return index;
}

Result<void> RouteTables::del_table(uint32_t table) {
  const auto index = find_table(table);
  if (!index) return index.error();
  auto& t = tables_[*index];
  if (!t->routes.empty())
    return error(Status::kInUse, "table " + std::to_string(table) + " has " +
                                     std::to_string(t->routes.size()) + " routes");
  fibs4_[*index].store(nullptr, std::memory_order_release);
  fibs6_[*index].store(nullptr, std::memory_order_release);
  t.reset();
  return {};
}

std::vector<uint32_t> RouteTables::tables() const {
  std::vector<uint32_t> all;
  for (const auto& t : tables_)
    if (t) all.push_back(t->number);
  std::sort(all.begin(), all.end());
  return all;
}

// Makes the lookup structure say what the best source of the prefix says.
Status RouteTables::install(Table& t, const IpPrefix& prefix) {
  const auto it = t.routes.find(prefix);
  if (it == t.routes.end())
    return prefix.address.is_ip4 ? t.fib4->del(prefix) : t.fib6->del(prefix);
  const uint32_t adjacency = it->second.front().adjacency;
  return prefix.address.is_ip4 ? t.fib4->add(prefix, adjacency) : t.fib6->add(prefix, adjacency);
}

Result<void> RouteTables::put(const RouteSource& source, RouteSource* replaced) {
  Table* t = find(source.route.table);
  if (!t)
    return error(Status::kNotFound, "there is no table " + std::to_string(source.route.table));
  const IpPrefix prefix = network_of(source.route.prefix);
  auto& sources = t->routes[prefix];
  const auto before = sources;
  const auto same = std::find_if(sources.begin(), sources.end(), [&](const RouteSource& s) {
    return s.origin == source.origin && s.is_local == source.is_local &&
           (s.origin == RouteOrigin::kConfigured || s.route.tx_if == source.route.tx_if);
  });
  if (same != sources.end()) {
    if (replaced) *replaced = *same;
    *same = source;
  } else {
    // A local address beats a subnet, and what the interfaces say beats what is configured.
    const auto rank = [](const RouteSource& s) {
      return s.is_local ? 0 : s.origin == RouteOrigin::kInterface ? 1 : 2;
    };
    sources.insert(std::upper_bound(sources.begin(), sources.end(), source,
                                    [&](const RouteSource& a, const RouteSource& b) {
                                      return rank(a) < rank(b);
                                    }),
                   source);
  }
  if (const Status s = install(*t, prefix); s != Status::kOk) {
    sources = before;
    if (sources.empty()) t->routes.erase(prefix);
    return error(s, "route " + prefix.str() + ": " + status_name(s));
  }
  return {};
}

Result<RouteSource> RouteTables::take(const IpPrefix& wanted, uint32_t table, RouteOrigin origin,
                                      IfIndex interface) {
  Table* t = find(table);
  if (!t) return error(Status::kNotFound, "there is no table " + std::to_string(table));
  const IpPrefix prefix = network_of(wanted);
  const auto it = t->routes.find(prefix);
  if (it != t->routes.end()) {
    auto& sources = it->second;
    const auto found = std::find_if(sources.begin(), sources.end(), [&](const RouteSource& s) {
      return s.origin == origin && (interface == kNoIndex || s.route.tx_if == interface);
    });
    if (found != sources.end()) {
      const RouteSource taken = *found;
      sources.erase(found);
      if (sources.empty()) t->routes.erase(it);
      // Removing or uncovering a route takes no memory, but a ply may be copied; see Ip4Fib.
      if (const Status s = install(*t, prefix); s != Status::kOk)
        return error(s, "route " + prefix.str() + ": " + status_name(s));
      return taken;
    }
  }
  return error(Status::kNotFound,
               "table " + std::to_string(table) + " has no route " + prefix.str());
}

std::vector<RouteSource> RouteTables::sources_by_interface(IfIndex interface) const {
  std::vector<RouteSource> all;
  for (const auto& t : tables_) {
    if (!t) continue;
    for (const auto& [prefix, sources] : t->routes)
      for (const auto& s : sources)
        if (s.route.tx_if == interface) all.push_back(s);
  }
  return all;
}

std::vector<RouteListing> RouteTables::list(uint32_t table, bool is_ip6) const {
  std::vector<RouteListing> all;
  const Table* t = find(table);
  if (!t) return all;
  for (const auto& [prefix, sources] : t->routes) {
    if (prefix.address.is_ip4 == is_ip6) continue;
    for (const auto& s : sources) {
      RouteListing l{s.route, s.origin, s.is_local, s.adjacency};
      l.route.prefix = prefix;
      all.push_back(l);
    }
  }
  return all;
}

}  // namespace loom
