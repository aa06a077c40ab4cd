// What an interface is told to be: state, sizes, link-layer address, table, receive queues, name,
// tag.
#include "interface.api.h"
#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "net/state.h"

namespace loom {
namespace {

// Registers a request about the interface request.sw_if_index: fn(interface, request, reply) is
// called when there is one, and returns the return code.
template <class Request, class Reply, class F>
void handle(ApiRegistry& registry, Net& net, F fn) {
  registry.handle<Request, Reply>([&net, fn](ApiCall&, const Request& request) {
    Reply reply;
    const Interface* f = net.state().interfaces.find(request.sw_if_index);
    reply.retval = f ? fn(*f, request, reply) : kApiInvalidSwIfIndex;
    return reply;
  });
}

// All of them or none; kInProgress: all, the device's own when that answers.
Result<void> set_mtus(Net& net, const Interface& f, const std::array<uint32_t, 4>& mtu) {
  const auto [any, ip4, ip6, mpls] = mtu;
  if (mpls != 0 && mpls != any) return error(Status::kInvalid, "there is no MPLS");
  const uint32_t had4 = f.ip4_mtu.load(), had6 = f.ip6_mtu.load();
  Result<void> done = net.set_ip_mtu(f.index, true, ip4);
  if (done) done = net.set_ip_mtu(f.index, false, ip6);
  if (done && any != 0) done = net.set_mtu(f.index, any);
  if (!done && done.error().code != Status::kInProgress) {
    (void)net.set_ip_mtu(f.index, true, had4);
    (void)net.set_ip_mtu(f.index, false, had6);
  }
  return done;
}

std::optional<RxMode> from_api(api::RxMode mode) {
  switch (mode) {
    case api::RxMode::kRxModeApiPolling:
      return RxMode::kPolling;
    case api::RxMode::kRxModeApiInterrupt:
      return RxMode::kInterrupt;
    case api::RxMode::kRxModeApiAdaptive:
    case api::RxMode::kRxModeApiDefault:
      return RxMode::kAdaptive;
    default:
      return std::nullopt;
  }
}

int32_t rename(Net& net, const api::SwInterfaceSetInterfaceName& r) {
  if (r.name.empty()) return kApiInvalidValue;  // whatever the index, as VPP
  if (!net.state().interfaces.find(r.sw_if_index)) return kApiInvalidSwIfIndex;
  const auto renamed = net.rename_interface(r.sw_if_index, r.name);
  if (renamed) return 0;
  switch (const Status why = renamed.error().code) {
    case Status::kInvalid:
      return kApiIllegalName;
    case Status::kExists:
      return kApiIfAlreadyExists;
    default:
      return api_retval(why);
  }
}

void add_sizes(ApiRegistry& registry, Net& net) {
  handle<api::SwInterfaceSetMtu, api::SwInterfaceSetMtuReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        return api_retval(set_mtus(net, f, r.mtu));
      });
  handle<api::HwInterfaceSetMtu, api::HwInterfaceSetMtuReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        return api_retval(net.set_mtu(f.index, r.mtu));
      });
}

void add_link_layer(ApiRegistry& registry, Net& net) {
  handle<api::SwInterfaceGetMacAddress, api::SwInterfaceGetMacAddressReply>(
      registry, net, [](const Interface& f, const auto&, auto& reply) {
        reply.mac_address = to_api(f.mac);
        return 0;
      });
  handle<api::SwInterfaceSetMacAddress, api::SwInterfaceSetMacAddressReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        return f.is_ethernet ? api_retval(net.set_mac(f.index, loom::from_api(r.mac_address)))
                             : kApiNonEthernet;
      });
}

void add_tables(ApiRegistry& registry, Net& net) {
  handle<api::SwInterfaceSetTable, api::SwInterfaceSetTableReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        const auto done = net.set_table(f.index, r.vrf_id, r.is_ipv6);
        if (done) return 0;
        return done.error().code == Status::kNotFound ? kApiNoSuchFib
                                                      : kApiAddressFoundForInterface;
      });
  handle<api::SwInterfaceGetTable, api::SwInterfaceGetTableReply>(
      registry, net, [](const Interface& f, const auto& r, auto& reply) {
        reply.vrf_id = f.table_of(!r.is_ipv6);
        return 0;
      });
}

}  // namespace

void add_interface_settings(ApiRegistry& registry, Net& net) {
  handle<api::SwInterfaceSetFlags, api::SwInterfaceSetFlagsReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        return api_retval(
            net.set_admin(f.index, has_flag(r.flags, api::IfStatusFlags::kIfStatusApiFlagAdminUp)));
      });
  handle<api::SwInterfaceSetRxMode, api::SwInterfaceSetRxModeReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        const auto mode = from_api(r.mode);
        if (!mode) return kApiInvalidValue;
        if (!r.queue_id_valid) return api_retval(net.set_rx_mode(f.index, *mode));
        if (r.queue_id >= f.rx_queues.size()) return kApiInvalidQueue;
        return api_retval(net.set_rx_mode(f.index, *mode, r.queue_id));
      });
  handle<api::SwInterfaceTagAddDel, api::SwInterfaceTagAddDelReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        return api_retval(net.set_tag(f.index, r.is_add ? std::string_view(r.tag) : ""));
      });
  registry.handle<api::SwInterfaceClearStats, api::SwInterfaceClearStatsReply>(
      [&net](ApiCall&, const api::SwInterfaceClearStats& r) {
        return api::SwInterfaceClearStatsReply{
            .retval = net.clear_counters(r.sw_if_index) ? 0 : kApiInvalidSwIfIndex};
      });
  registry.handle<api::SwInterfaceSetInterfaceName, api::SwInterfaceSetInterfaceNameReply>(
      [&net](ApiCall&, const api::SwInterfaceSetInterfaceName& r) {
        return api::SwInterfaceSetInterfaceNameReply{.retval = rename(net, r)};
      });
  handle<api::SwInterfaceSetRxPlacement, api::SwInterfaceSetRxPlacementReply>(
      registry, net, [&net](const Interface& f, const auto& r, auto&) {
        if (r.is_main) return kApiUnsupported;
        if (r.queue_id >= f.rx_queues.size()) return kApiInvalidQueue;
        return net.place_rx_queue(f.index, r.queue_id, r.worker_id) ? 0 : kApiInvalidWorker;
      });
  add_sizes(registry, net);
  add_link_layer(registry, net);
  add_tables(registry, net);
}

}  // namespace loom
