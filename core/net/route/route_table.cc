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

namespace {

Error no_table(uint32_t table, bool is_ip6) {
  return error(Status::kNotFound,
               "there is no table " + std::to_string(table) + (is_ip6 ? " of IPv6" : " of IPv4"));
}

}  // namespace

uint32_t RouteTables::lookup(const IpAddress& a, uint32_t fib_index) const noexcept {
  if (a.is_ip4) {
    const Ip4Fib* fib = fib4(fib_index);
    return fib ? adjacency_of(fib->lookup(a.ip4())) : kAdjacencyNoRoute;
  }
  const Ip6Fib* fib = fib6(fib_index);
  return fib ? adjacency_of(fib->lookup(a.ip6())) : kAdjacencyNoRoute;
}

RouteTables::Table* RouteTables::find(uint32_t table, bool is_ip6) {
  for (auto& t : tables_)
    if (t && t->number == table && t->of(is_ip6).exists) return t.get();
  return nullptr;
}
const RouteTables::Table* RouteTables::find(uint32_t table, bool is_ip6) const {
  return const_cast<RouteTables*>(this)->find(table, is_ip6);
}

Result<uint32_t> RouteTables::find_table(uint32_t table, bool is_ip6) const {
  for (uint32_t i = 0; i < kMaxTables; ++i)
    if (tables_[i] && tables_[i]->number == table && tables_[i]->of(is_ip6).exists) return i;
  return no_table(table, is_ip6);
}

Status RouteTables::create_fib(Table& t, uint32_t fib_index, bool is_ip6) {
  if (is_ip6) {
    auto fib = Ip6Fib::create();
    if (!fib) return fib.error().code;
    t.fib6 = std::move(*fib);
    fibs6_[fib_index].store(t.fib6.get(), std::memory_order_release);
    return Status::kOk;
  }
  auto fib = Ip4Fib::create(defer_);
  if (!fib) return fib.error().code;
  // What every host does with broadcast and multicast (RFC 1122 section 3.2.1.3).
  struct Preset {
    const char* prefix;
    uint32_t adjacency;
  };
  for (const Preset p : {Preset{"255.255.255.255/32", kAdjacencyLimitedBroadcast},
                         Preset{"224.0.0.0/4", kAdjacencyBlackhole}})
    if (const Status s = (*fib)->add(*IpPrefix::parse(p.prefix), p.adjacency); s != Status::kOk)
      return s;
  t.fib4 = std::move(*fib);
  fibs4_[fib_index].store(t.fib4.get(), std::memory_order_release);
  return Status::kOk;
}

Result<uint32_t> RouteTables::add_table(uint32_t table, bool is_ip6, std::string_view name) {
  if (const auto index = find_table(table, is_ip6)) return *index;
  auto slot = std::find_if(tables_.begin(), tables_.end(),
                           [&](const auto& t) { return t && t->number == table; });
  const bool is_new = slot == tables_.end();
  if (is_new) slot = std::find(tables_.begin(), tables_.end(), nullptr);
  if (slot == tables_.end())
    return error(Status::kNoMemory, std::to_string(kMaxTables) + " tables are the most");
  const auto index = static_cast<uint32_t>(slot - tables_.begin());
  if (is_new) {
    *slot = std::make_unique<Table>();
    (*slot)->number = table;
  }
  if (create_fib(**slot, index, is_ip6) != Status::kOk) {
    if (is_new) slot->reset();
    return error(Status::kNoMemory, "no memory for table " + std::to_string(table));
  }
  Family& family = (*slot)->of(is_ip6);
  family.exists = true;
  family.name = name;
  return index;
}

Result<void> RouteTables::del_table(uint32_t table, bool is_ip6) {
  const auto index = find_table(table, is_ip6);
  if (!index) return index.error();
  auto& t = tables_[*index];
  Family& family = t->of(is_ip6);
  if (!family.routes.empty())
    return error(Status::kInUse, "table " + std::to_string(table) + " has " +
                                     std::to_string(family.routes.size()) + " routes");
  if (is_ip6) {
    fibs6_[*index].store(nullptr, std::memory_order_release);
    t->fib6.reset();
  } else {
    fibs4_[*index].store(nullptr, std::memory_order_release);
    t->fib4.reset();
  }
  family = {};
  if (!t->ip4.exists && !t->ip6.exists) t.reset();
  return {};
}

std::vector<uint32_t> RouteTables::tables(bool is_ip6) const {
  std::vector<uint32_t> all;
  for (const auto& t : tables_)
    if (t && t->of(is_ip6).exists) all.push_back(t->number);
  std::sort(all.begin(), all.end());
  return all;
}

uint32_t RouteTables::next_table(uint32_t from, bool is_ip6) const {
  for (uint32_t i = from; i < kMaxTables; ++i)
    if (tables_[i] && tables_[i]->of(is_ip6).exists) return i;
  return kNoIndex;
}

// Makes the lookup structure say what the best source of the prefix says.
Status RouteTables::install(Table& t, const IpPrefix& prefix) {
  const Routes& routes = t.routes_of(prefix);
  const auto it = routes.find(prefix);
  if (it == routes.end()) return prefix.address.is_ip4 ? t.fib4->del(prefix) : t.fib6->del(prefix);
  const uint32_t adjacency = it->second.front().adjacency;
  return prefix.address.is_ip4 ? t.fib4->add(prefix, adjacency) : t.fib6->add(prefix, adjacency);
}

Result<void> RouteTables::put(const RouteSource& source, RouteSource* replaced) {
  const IpPrefix prefix = network_of(source.route.prefix);
  const bool is_ip6 = !prefix.address.is_ip4;
  Table* t = find(source.route.table, is_ip6);
  if (!t) return no_table(source.route.table, is_ip6);
  Routes& routes = t->routes_of(prefix);
  auto& sources = routes[prefix];
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
    if (sources.empty()) routes.erase(prefix);
    return error(s, "route " + prefix.str() + ": " + status_name(s));
  }
  return {};
}

Result<RouteSource> RouteTables::take(const IpPrefix& wanted, uint32_t table, RouteOrigin origin,
                                      IfIndex interface) {
  const IpPrefix prefix = network_of(wanted);
  Table* t = find(table, !prefix.address.is_ip4);
  if (!t) return no_table(table, !prefix.address.is_ip4);
  Routes& routes = t->routes_of(prefix);
  const auto it = routes.find(prefix);
  if (it != routes.end()) {
    auto& sources = it->second;
    const auto found = std::find_if(sources.begin(), sources.end(), [&](const RouteSource& s) {
      return s.origin == origin && (interface == kNoIndex || s.route.tx_if == interface);
    });
    if (found != sources.end()) {
      const RouteSource taken = *found;
      sources.erase(found);
      if (sources.empty()) routes.erase(it);
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
    for (const bool is_ip6 : {false, true})
      for (const auto& [prefix, sources] : t->of(is_ip6).routes)
        for (const auto& s : sources)
          if (s.route.tx_if == interface) all.push_back(s);
  }
  return all;
}

std::vector<RouteListing> RouteTables::list(uint32_t table, bool is_ip6) const {
  std::vector<RouteListing> all;
  const Table* t = find(table, is_ip6);
  if (!t) return all;
  for (const auto& [prefix, sources] : t->of(is_ip6).routes) {
    for (const auto& s : sources) {
      RouteListing l{s.route, s.origin, s.is_local, s.adjacency};
      l.route.prefix = prefix;
      all.push_back(l);
    }
  }
  return all;
}

const RouteTables::Entry* RouteTables::next(uint32_t table, bool is_ip6,
                                            const IpPrefix* after) const {
  const Table* t = find(table, is_ip6);
  if (!t) return nullptr;
  const Routes& routes = t->of(is_ip6).routes;
  const auto it = after ? routes.upper_bound(*after) : routes.begin();
  return it == routes.end() ? nullptr : &*it;
}

const RouteTables::Entry* RouteTables::find_exact(const IpPrefix& prefix, uint32_t table) const {
  const Table* t = find(table, !prefix.address.is_ip4);
  if (!t) return nullptr;
  const Routes& routes = t->of(!prefix.address.is_ip4).routes;
  const auto it = routes.find(network_of(prefix));
  return it == routes.end() ? nullptr : &*it;
}

const RouteTables::Entry* RouteTables::find_best(const IpPrefix& prefix, uint32_t table) const {
  for (IpPrefix p = prefix;; --p.length) {
    if (const Entry* e = find_exact(p, table)) return e;
    if (p.length == 0) return nullptr;
  }
}

}  // namespace loom
