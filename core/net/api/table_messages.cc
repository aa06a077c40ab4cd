// Routing tables: ip_table_add_del, ip_table_dump, ip_table_flush. A table with many routes is
// emptied in slices, between whatever else the control thread has to do; the reply comes at the
// end.
#include "ip.api.h"
#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "net/state.h"

namespace loom {
namespace {

constexpr int kSlice = 64;  // prefixes that one step looks at, also those with nothing configured

int32_t check(Net& net, const api::IpTable& table, bool is_delete) {
  if (!net.fib_index(table.table_id, table.is_ip6)) return kApiNoSuchFib;
  if (!is_delete) return 0;
  if (table.table_id == 0) return kApiInvalidValue;  // always there
  int32_t retval = 0;
  net.visit_interfaces([&](const Interface& f) {
    if (f.table_of(!table.is_ip6) == table.table_id) retval = kApiRsrcInUse;
  });
  return retval;
}

// Removes the configured routes of a table, and then the table.
struct Emptying {
  Net& net;
  api::IpTable table;
  bool is_delete;
  int32_t refused;
  std::optional<IpPrefix> done{};  // up to here

  Emptying(Net& n, const api::IpTable& t, bool d)
      : net(n), table(t), is_delete(d), refused(check(n, t, d)) {}

  template <class Reply>
  ApiStep next(ApiCall&, Reply& reply) {
    reply.retval = refused;
    if (refused) return ApiStep::kEnd;
    for (int i = 0; i < kSlice; ++i) {
      const auto* entry =
          net.state().routes.next(table.table_id, table.is_ip6, done ? &*done : nullptr);
      if (!entry) {
        if (is_delete) reply.retval = remove();
        return ApiStep::kEnd;
      }
      done = entry->first;
      for (const RouteSource& source : entry->second) {
        if (source.origin != RouteOrigin::kConfigured) continue;
        const Route route = source.route;
        (void)net.del_route(route);
        break;
      }
    }
    return ApiStep::kSkip;
  }
  // Somebody may have used it meanwhile.
  int32_t remove() {
    const auto removed = net.del_table(table.table_id, table.is_ip6);
    if (removed) return 0;
    return removed.error().code == Status::kInUse ? kApiRsrcInUse : kApiNoSuchFib;
  }
};

// Adding is done at once.
struct Change {
  std::optional<Emptying> emptying;
  int32_t added = 0;

  Change(Net& net, const api::IpTable& table, bool is_add) {
    if (is_add)
      added = api_retval(net.add_table(table.table_id, table.is_ip6, table.name));
    else
      emptying.emplace(net, table, /*is_delete=*/true);
  }
  template <class Reply>
  ApiStep next(ApiCall& call, Reply& reply) {
    if (emptying) return emptying->next(call, reply);
    reply.retval = added;
    return ApiStep::kEnd;
  }
};

std::string name_of(const std::string& given, uint32_t table, bool is_ip6) {
  return !given.empty() ? given : (is_ip6 ? "ip6-table-" : "ip4-table-") + std::to_string(table);
}

}  // namespace

void add_table_messages(ApiRegistry& registry, Net& net) {
  registry.handle_in_steps<api::IpTableAddDel, api::IpTableAddDelReply>(
      [&net](const api::IpTableAddDel& r) { return Change(net, r.table, r.is_add); });
  registry.handle_in_steps<api::IpTableAddDelV2, api::IpTableAddDelV2Reply>(
      [&net](const api::IpTableAddDelV2& r) { return Change(net, r.table, r.is_add); });
  registry.handle_in_steps<api::IpTableFlush, api::IpTableFlushReply>(
      [&net](const api::IpTableFlush& r) { return Emptying(net, r.table, /*is_delete=*/false); });
  // The cursor: family in bit 32, fib index below.
  registry.dump<api::IpTableDump, api::IpTableDetails>(
      [&net](const api::IpTableDump&, uint64_t& cursor, api::IpTableDetails& d) {
        const auto& routes = net.state().routes;
        const bool is_ip6 = cursor >> 32;
        const uint32_t at = routes.next_table(static_cast<uint32_t>(cursor), is_ip6);
        if (at == kNoIndex) {
          if (is_ip6) return ApiStep::kEnd;
          cursor = uint64_t{1} << 32;
          return ApiStep::kSkip;
        }
        cursor = uint64_t{is_ip6} << 32 | (at + 1);
        const uint32_t number = routes.number_of(at);
        d.table = {number, is_ip6, name_of(routes.name_of(at, is_ip6), number, is_ip6)};
        return ApiStep::kItem;
      });
}

}  // namespace loom
