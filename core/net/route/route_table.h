// Routing tables: what is configured, by prefix, and the lookup structures that workers read.
//
// A prefix can have several sources (an interface's subnet, a configured route); the first of them
// by RouteOrigin, then by age, is what packets see. Threads: control writes; fib4, fib6, choose and
// is_local are for workers.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/buffer.h>
#include <hostloom/status.h>

#include "net/adjacency/adjacency.h"
#include "net/fib/ip4_fib.h"
#include "net/fib/ip6_fib.h"
#include "net/net.h"

namespace loom {

struct RouteSource {
  RouteOrigin origin = RouteOrigin::kConfigured;
  Route route;
  uint32_t adjacency = kNoIndex;
  bool is_local = false;
  bool holds_neighbor = false;  // route.gateway on route.tx_if: NeighborTable::release when it goes
};

class RouteTables {
 public:
  static constexpr uint32_t kMaxTables = 256;

  explicit RouteTables(FibDefer defer) : defer_(std::move(defer)) {}

  // Any worker.
  const Ip4Fib* fib4(uint32_t fib_index) const noexcept {
    return fib_index < kMaxTables ? fibs4_[fib_index].load(std::memory_order_acquire) : nullptr;
  }
  const Ip6Fib* fib6(uint32_t fib_index) const noexcept {
    return fib_index < kMaxTables ? fibs6_[fib_index].load(std::memory_order_acquire) : nullptr;
  }
  // The adjacency that a lookup's value stands for.
  static uint32_t adjacency_of(uint32_t value) noexcept {
    return value == kNoIndex ? kAdjacencyNoRoute : value;
  }
  uint32_t lookup(const IpAddress& a, uint32_t fib_index) const noexcept;  // an adjacency
  bool is_local(const IpAddress& a, uint32_t fib_index) const noexcept {
    return lookup(a, fib_index) == kAdjacencyLocal;
  }

  // Control from here on.
  // Its fib index; the one it has when it exists, and then keeps its name.
  Result<uint32_t> add_table(uint32_t table, bool is_ip6, std::string_view name);
  Result<uint32_t> find_table(uint32_t table, bool is_ip6) const;
  // The table is empty of configured and interface routes; workers stand still.
  Result<void> del_table(uint32_t table, bool is_ip6);
  std::vector<uint32_t> tables(bool is_ip6) const;
  // The table of the lowest fib index from `from` on that the family has; kNoIndex: there is none.
  uint32_t next_table(uint32_t from, bool is_ip6) const;
  uint32_t number_of(uint32_t fib_index) const { return tables_[fib_index]->number; }
  const std::string& name_of(uint32_t fib_index, bool is_ip6) const {
    return tables_[fib_index]->of(is_ip6).name;
  }
  // Adds the source, or replaces the one with the same origin and, for interface routes, interface.
  // `replaced`: the source that it took the place of, for the caller to release.
  Result<void> put(const RouteSource& source, RouteSource* replaced);
  // Removes the source: the configured one of that prefix, or the interface's.
  Result<RouteSource> take(const IpPrefix& prefix, uint32_t table, RouteOrigin origin,
                           IfIndex interface);
  // All sources that leave by, or belong to, that interface.
  std::vector<RouteSource> sources_by_interface(IfIndex interface) const;
  std::vector<RouteListing> list(uint32_t table, bool is_ip6) const;
  // By network prefix; the best source first. An entry's address is good until the next change.
  using Routes = std::map<IpPrefix, std::vector<RouteSource>>;
  using Entry = Routes::value_type;
  // Walks a table that may change meanwhile: the first entry behind `after`, of all with null. Null
  // at the end, and when the table is gone.
  const Entry* next(uint32_t table, bool is_ip6, const IpPrefix* after) const;
  // The entry of that prefix, or of the longest that contains it.
  const Entry* find_exact(const IpPrefix& prefix, uint32_t table) const;
  const Entry* find_best(const IpPrefix& prefix, uint32_t table) const;

 private:
  struct Family {
    bool exists = false;
    std::string name;
    Routes routes;
  };
  struct Table {
    uint32_t number = 0;
    std::unique_ptr<Ip4Fib> fib4;
    std::unique_ptr<Ip6Fib> fib6;
    Family ip4, ip6;
    Family& of(bool is_ip6) { return is_ip6 ? ip6 : ip4; }
    const Family& of(bool is_ip6) const { return is_ip6 ? ip6 : ip4; }
    Routes& routes_of(const IpPrefix& p) { return of(!p.address.is_ip4).routes; }
  };
  Table* find(uint32_t table, bool is_ip6);  // null: the family has none
  const Table* find(uint32_t table, bool is_ip6) const;
  Status install(Table& t, const IpPrefix& prefix);
  Status create_fib(Table& t, uint32_t fib_index, bool is_ip6);

  FibDefer defer_;
  std::array<std::unique_ptr<Table>, kMaxTables> tables_;
  std::array<std::atomic<const Ip4Fib*>, kMaxTables> fibs4_{};
  std::array<std::atomic<const Ip6Fib*>, kMaxTables> fibs6_{};
};

// The prefix without host bits.
IpPrefix network_of(const IpPrefix& prefix) noexcept;
bool contains(const IpPrefix& prefix, const IpAddress& address) noexcept;

}  // namespace loom
