// Sub-interfaces: create_vlan_subif, create_subif, delete_subif.
#include "interface.api.h"
#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "net/state.h"

namespace loom {
namespace {

using Flags = api::SubIfFlags;

constexpr uint32_t bit(Flags f) { return static_cast<uint32_t>(f); }
constexpr uint32_t kWanted = bit(Flags::kSubIfApiFlagOneTag);
constexpr uint32_t kSupported = kWanted | bit(Flags::kSubIfApiFlagExactMatch);
constexpr uint32_t kKnown = kSupported | bit(Flags::kSubIfApiFlagNoTags) |
                            bit(Flags::kSubIfApiFlagMaskVnet) | bit(Flags::kSubIfApiFlagDot1ah);

int32_t check(const api::CreateSubif& r) {
  const uint32_t flags = bit(r.sub_if_flags);
  if (flags & ~kKnown) return kApiInvalidValue;
  if (flags & ~kSupported || r.inner_vlan_id != 0) return kApiUnsupported;
  return flags & kWanted ? 0 : kApiInvalidValue;
}

template <class Reply>
Reply create(Net& net, IfIndex parent, uint32_t sub_id, uint32_t vlan_id) {
  const auto refused = [](int32_t why) { return Reply{.retval = why, .sw_if_index = kApiNone}; };
  const Interface* f = net.state().interfaces.find(parent);
  if (!f) return refused(kApiInvalidSwIfIndex);
  if (f->parent) return refused(kApiInvalidInterface);
  if (!f->is_ethernet) return refused(kApiNonEthernet);
  if (vlan_id < VlanTable::kLeastId || vlan_id > VlanTable::kMostId)
    return refused(kApiInvalidVlan);
  const auto index = net.create_sub_interface(parent, sub_id, static_cast<uint16_t>(vlan_id));
  if (index) return {.sw_if_index = *index};
  switch (const Status why = index.error().code) {
    case Status::kExists:  // the number is taken, for which VPP has no other code either
    case Status::kInUse:
      return refused(kApiVlanAlreadyExists);
    case Status::kNoMemory:
      return refused(kApiLimitExceeded);
    default:
      return refused(api_retval(why));
  }
}

int32_t remove(Net& net, IfIndex index) {
  const Interface* f = net.state().interfaces.find(index);
  if (!f) return kApiInvalidSwIfIndex;
  return f->parent ? api_retval(net.delete_sub_interface(index)) : kApiInvalidSubSwIfIndex;
}

}  // namespace

void add_sub_interface_messages(ApiRegistry& registry, Net& net) {
  registry.handle<api::CreateVlanSubif, api::CreateVlanSubifReply>(
      [&net](ApiCall&, const api::CreateVlanSubif& r) {
        return create<api::CreateVlanSubifReply>(net, r.sw_if_index, r.vlan_id, r.vlan_id);
      });
  registry.handle<api::CreateSubif, api::CreateSubifReply>(
      [&net](ApiCall&, const api::CreateSubif& r) {
        if (!net.state().interfaces.find(r.sw_if_index))
          return api::CreateSubifReply{.retval = kApiInvalidSwIfIndex, .sw_if_index = kApiNone};
        if (const int32_t bad = check(r))
          return api::CreateSubifReply{.retval = bad, .sw_if_index = kApiNone};
        return create<api::CreateSubifReply>(net, r.sw_if_index, r.sub_id, r.outer_vlan_id);
      });
  registry.handle<api::DeleteSubif, api::DeleteSubifReply>(
      [&net](ApiCall&, const api::DeleteSubif& r) {
        return api::DeleteSubifReply{.retval = remove(net, r.sw_if_index)};
      });
}

}  // namespace loom
