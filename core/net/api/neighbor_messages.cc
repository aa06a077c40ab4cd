// Neighbours: ip_neighbor_add_del, _dump, _flush, _config, and events about them.
#include <algorithm>
#include <memory>

#include "ip_neighbor.api.h"
#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "net/state.h"

namespace loom {
namespace {

using Flags = api::IpNeighborFlags;

api::IpNeighbor to_api(const NeighborListing& n) {
  return {n.interface,
          n.state == NeighborState::kStatic ? Flags::kIpApiNeighborFlagStatic
                                            : Flags::kIpApiNeighborFlagNone,
          to_api(n.mac), to_api(n.address)};
}

int32_t change(Net& net, const api::IpNeighborAddDel& r) {
  const api::IpNeighbor& n = r.neighbor;
  if (!net.state().interfaces.find(n.sw_if_index)) return kApiInvalidSwIfIndex;
  IpAddress address;
  if (const int32_t bad = from_api(n.ip_address, address)) return bad;
  return api_retval(r.is_add ? net.add_neighbor(n.sw_if_index, address, from_api(n.mac_address),
                                                has_flag(n.flags, Flags::kIpApiNeighborFlagStatic))
                             : net.del_neighbor(n.sw_if_index, address));
}

// Worker 0 has them: fetched a few hundred at a time, sent one at a time.
struct NeighborWalk {
  const Net& net;
  api::IpNeighborDump request;
  std::vector<NeighborListing> some{};
  std::size_t at = 0;
  uint32_t from = 0;

  ApiStep next(ApiCall& call) {
    if (at == some.size()) {
      if (from == kNoIndex) return ApiStep::kEnd;
      some = net.neighbors_from(from);
      at = 0;
      return ApiStep::kSkip;
    }
    const NeighborListing& n = some[at++];
    const auto family =
        n.address.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6;
    if (n.state == NeighborState::kIncomplete || family != request.af ||
        (request.sw_if_index != kApiNone && request.sw_if_index != n.interface))
      return ApiStep::kSkip;
    call.send(api::IpNeighborDetails{
        .context = request.context, .age = to_seconds(n.age), .neighbor = to_api(n)});
    return ApiStep::kItem;
  }
};

// Who watches what. The registry knows which clients are still there; what one that has left had
// asked for is forgotten here with the next news, or when the next one asks. A watch of one
// interface ends with it: the next interface may get its index.
class Watches {
 public:
  static constexpr std::ptrdiff_t kMostOfOne = 64;

  Watches(ApiRegistry& registry, Net& net) : registry_(registry), net_(net) {}

  int32_t change(ApiCall& call, const api::WantIpNeighborEvents& r) {
    Watch w{call.client_index(), r.pid, {}, r.sw_if_index};
    if (const int32_t bad = from_api(r.ip, w.address)) return bad;
    if (r.enable && w.interface != kApiNone && !net_.state().interfaces.find(w.interface))
      return kApiInvalidSwIfIndex;
    if (w.client == 0) return 0;  // a replay: there is nobody to tell
    forget_gone();
    const auto had = std::erase_if(all_, [&](const Watch& other) { return other.is_same(w); });
    if (!r.enable && had == 0) return kApiNoSuchEntry;
    if (r.enable && n_of(w.client) >= kMostOfOne) return kApiLimitExceeded;
    if (r.enable) all_.push_back(w);
    call.subscribe<api::WantIpNeighborEvents>(n_of(w.client) != 0, r.context, r.pid);
    watch_or_not();
    return 0;
  }
  void forget_interface(IfIndex index) {
    for (const Watch& w : std::vector(all_)) {
      if (w.interface != index) continue;
      std::erase_if(all_, [&](const Watch& other) { return other.is_same(w); });
      if (n_of(w.client) == 0)
        registry_.subscriptions().set(api::WantIpNeighborEvents::kInfo, {w.client, 0, 0}, false);
    }
    watch_or_not();
  }

 private:
  struct Watch {
    uint32_t client, pid;
    IpAddress address;  // zero: any
    IfIndex interface;  // kApiNone: any
    bool is_same(const Watch& o) const {
      return client == o.client && interface == o.interface && address.bits == o.address.bits &&
             (address.is_zero() || address.is_ip4 == o.address.is_ip4);
    }
    bool wants(const NeighborListing& n) const {
      return (interface == kApiNone || interface == n.interface) &&
             (address.is_zero() || address == n.address);
    }
  };
  std::ptrdiff_t n_of(uint32_t client) const {
    return std::count_if(all_.begin(), all_.end(),
                         [&](const Watch& w) { return w.client == client; });
  }
  void forget_gone() {
    std::erase_if(all_, [&](const Watch& w) {
      return !registry_.subscriptions().has(api::WantIpNeighborEvents::kInfo, w.client);
    });
  }
  // Worker 0 tells its news only while somebody wants them.
  void watch_or_not() {
    if (all_.empty() == !is_watching_) return;
    is_watching_ = !all_.empty();
    if (is_watching_)
      net_.watch_neighbors([this](const NeighborListing& n) { tell(n); });
    else
      net_.watch_neighbors({});
  }
  // One event for each of its watches, as each may have its own pid.
  void tell(const NeighborListing& n) {
    forget_gone();
    watch_or_not();
    for (const Watch& w : std::vector(all_))
      if (w.wants(n))
        registry_.send_event<api::WantIpNeighborEvents>(
            api::IpNeighborEvent{.pid = w.pid, .neighbor = to_api(n)},
            [&](api::IpNeighborEvent&, const ApiSubscriber& s) {
              return s.client_index == w.client;
            });
  }

  ApiRegistry& registry_;
  Net& net_;
  std::vector<Watch> all_;
  bool is_watching_ = false;
};

int32_t configure(Net& net, const api::IpNeighborConfig& r) {
  bool is_ip4 = false;
  if (const int32_t bad = from_api(r.af, is_ip4)) return bad;
  return api_retval(net.set_neighbor_limits(
      is_ip4, {r.max_number, static_cast<TimeNs>(r.max_age) * kSecond, r.recycle}));
}

int32_t flush(Net& net, const api::IpNeighborFlush& r) {
  bool is_ip4 = false;
  if (const int32_t bad = from_api(r.af, is_ip4)) return bad;
  return net.flush_neighbors(r.sw_if_index, is_ip4) ? 0 : kApiInvalidSwIfIndex;
}

}  // namespace

void add_neighbor_messages(ApiRegistry& registry, Net& net) {
  registry.handle<api::IpNeighborAddDel, api::IpNeighborAddDelReply>(
      [&net](ApiCall&, const api::IpNeighborAddDel& request) {
        return api::IpNeighborAddDelReply{.retval = change(net, request), .stats_index = kApiNone};
      });
  registry.walk<api::IpNeighborDump>([&net](const api::IpNeighborDump& request) {
    return NeighborWalk{net, request};
  });
  registry.handle<api::IpNeighborConfig, api::IpNeighborConfigReply>(
      [&net](ApiCall&, const api::IpNeighborConfig& request) {
        return api::IpNeighborConfigReply{.retval = configure(net, request)};
      });
  registry.handle<api::IpNeighborFlush, api::IpNeighborFlushReply>(
      [&net](ApiCall&, const api::IpNeighborFlush& request) {
        return api::IpNeighborFlushReply{.retval = flush(net, request)};
      });
  const auto watches = std::make_shared<Watches>(registry, net);
  net.on_interface_event([watches](IfIndex index, bool, bool, bool is_deleted) {
    if (is_deleted) watches->forget_interface(index);
  });
  registry.handle<api::WantIpNeighborEvents, api::WantIpNeighborEventsReply>(
      [watches](ApiCall& call, const api::WantIpNeighborEvents& request) {
        return api::WantIpNeighborEventsReply{.retval = watches->change(call, request)};
      });
}

}  // namespace loom
