// Addresses of interfaces: sw_interface_add_del_address, ip_address_dump, ip_dump; borrowed ones;
// and whether there are any of IPv6.
#include "interface.api.h"
#include "ip.api.h"
#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "net/state.h"

namespace loom {
namespace {

const std::vector<InterfaceAddress>& addresses_of(const Interface& f, bool is_ip6) {
  return is_ip6 ? f.address_list->ip6 : f.address_list->ip4;
}

int32_t change(Net& net, const api::SwInterfaceAddDelAddress& r) {
  const Interface* f = net.state().interfaces.find(r.sw_if_index);
  if (!f) return kApiInvalidSwIfIndex;
  if (r.del_all) {
    for (const bool is_ip6 : {true, false})
      while (!addresses_of(*f, is_ip6).empty())
        (void)net.del_address(f->index, IpPrefix(addresses_of(*f, is_ip6).back().prefix));
    return 0;
  }
  IpPrefix prefix;
  if (const int32_t bad = from_api(r.prefix, prefix)) return bad;
  const auto done =
      r.is_add ? net.add_address(f->index, prefix) : net.del_address(f->index, prefix);
  if (done) return 0;
  switch (done.error().code) {
    case Status::kExists:
      return kApiAddressInUse;
    case Status::kNotFound:
      return kApiAddressNotFoundForInterface;
    default:
      return api_retval(done.error().code);
  }
}

int32_t set_unnumbered(Net& net, const api::SwInterfaceSetUnnumbered& r) {
  const auto& table = net.state().interfaces;
  const Interface* f = table.find(r.unnumbered_sw_if_index);
  if (!f) return kApiInvalidSwIfIndex;
  if (!r.is_add) return net.clear_unnumbered(f->index) ? 0 : kApiUnexpectedIntfState;
  if (!table.find(r.sw_if_index)) return kApiInvalidSwIfIndex2;
  const auto done = net.set_unnumbered(f->index, r.sw_if_index);
  if (done) return 0;
  switch (const Status why = done.error().code) {
    case Status::kExists:
      return kApiAddressFoundForInterface;
    case Status::kInUse:
      return kApiRsrcInUse;
    default:
      return api_retval(why);
  }
}

int32_t set_ip6_enabled(Net& net, const api::SwInterfaceIp6EnableDisable& r) {
  if (!net.state().interfaces.find(r.sw_if_index)) return kApiInvalidSwIfIndex;
  const auto done = net.set_ip6_enabled(r.sw_if_index, r.enable);
  if (done) return 0;
  switch (const Status why = done.error().code) {
    case Status::kNotFound:
      return kApiIp6NotEnabled;
    case Status::kInUse:
      return kApiAddressFoundForInterface;
    default:
      return api_retval(why);
  }
}

void add_unnumbered(ApiRegistry& registry, Net& net) {
  registry.handle<api::SwInterfaceSetUnnumbered, api::SwInterfaceSetUnnumberedReply>(
      [&net](ApiCall&, const api::SwInterfaceSetUnnumbered& r) {
        return api::SwInterfaceSetUnnumberedReply{.retval = set_unnumbered(net, r)};
      });
  registry.dump<api::IpUnnumberedDump, api::IpUnnumberedDetails>(
      [&net](const api::IpUnnumberedDump& r, uint64_t& cursor, api::IpUnnumberedDetails& d) {
        const auto& table = net.state().interfaces;
        if (cursor >= table.end()) return ApiStep::kEnd;
        const Interface* f = table.find(static_cast<IfIndex>(cursor++));
        if (!f || !f->lender || (r.sw_if_index != kApiNone && r.sw_if_index != f->index))
          return ApiStep::kSkip;
        d.sw_if_index = f->index;
        d.ip_sw_if_index = f->lender->index;
        return ApiStep::kItem;
      });
}

}  // namespace

void add_address_messages(ApiRegistry& registry, Net& net) {
  add_unnumbered(registry, net);
  registry.handle<api::SwInterfaceIp6EnableDisable, api::SwInterfaceIp6EnableDisableReply>(
      [&net](ApiCall&, const api::SwInterfaceIp6EnableDisable& r) {
        return api::SwInterfaceIp6EnableDisableReply{.retval = set_ip6_enabled(net, r)};
      });
  registry.handle<api::SwInterfaceAddDelAddress, api::SwInterfaceAddDelAddressReply>(
      [&net](ApiCall&, const api::SwInterfaceAddDelAddress& request) {
        return api::SwInterfaceAddDelAddressReply{.retval = change(net, request)};
      });
  registry.dump<api::IpAddressDump, api::IpAddressDetails>(
      [&net](const api::IpAddressDump& request, uint64_t& cursor, api::IpAddressDetails& d) {
        const Interface* f = net.state().interfaces.find(request.sw_if_index);
        if (!f || cursor >= addresses_of(*f, request.is_ipv6).size()) return ApiStep::kEnd;
        d.sw_if_index = f->index;
        d.prefix = to_api(addresses_of(*f, request.is_ipv6)[cursor++].prefix);
        return ApiStep::kItem;
      });
  registry.dump<api::IpDump, api::IpDetails>(
      [&net](const api::IpDump& request, uint64_t& cursor, api::IpDetails& d) {
        const auto& table = net.state().interfaces;
        if (cursor >= table.end()) return ApiStep::kEnd;
        const Interface* f = table.find(static_cast<IfIndex>(cursor++));
        if (!f || addresses_of(*f, request.is_ipv6).empty()) return ApiStep::kSkip;
        d.sw_if_index = f->index;
        d.is_ipv6 = request.is_ipv6;
        return ApiStep::kItem;
      });
}

}  // namespace loom
