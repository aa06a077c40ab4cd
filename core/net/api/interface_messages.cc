// Which interfaces there are, and what becomes of them: sw_interface_dump, receive queues, events,
// loopback interfaces.
#include <strings.h>

#include <algorithm>
#include <cstring>

#include "interface.api.h"
#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "net/state.h"

namespace loom {
namespace {

constexpr uint32_t kLook = 256;  // slots that one step of a dump looks at

api::IfStatusFlags status_flags(bool admin_up, bool link_up) {
  uint32_t flags = 0;
  if (admin_up) flags |= static_cast<uint32_t>(api::IfStatusFlags::kIfStatusApiFlagAdminUp);
  if (link_up) flags |= static_cast<uint32_t>(api::IfStatusFlags::kIfStatusApiFlagLinkUp);
  return static_cast<api::IfStatusFlags>(flags);
}

void describe(const Interface& f, api::SwInterfaceDetails& d) {
  d.sw_if_index = f.index;
  d.sup_sw_if_index = f.parent ? f.parent->index : f.index;
  d.l2_address = to_api(f.mac);
  d.flags = status_flags(f.is_admin_up.load(), f.is_link_up.load());
  d.type = f.parent ? api::IfType::kIfApiTypeSub : api::IfType::kIfApiTypeHardware;
  d.link_mtu = static_cast<uint16_t>(f.packet_mtu());
  d.mtu = {f.packet_mtu(), f.ip4_mtu.load(), f.ip6_mtu.load(), 0};
  if (f.parent) {
    d.sub_id = f.sub_id;
    d.sub_number_of_tags = 1;
    d.sub_outer_vlan_id = f.vlan_id;
    d.sub_if_flags = static_cast<api::SubIfFlags>(
        static_cast<uint32_t>(api::SubIfFlags::kSubIfApiFlagOneTag) |
        static_cast<uint32_t>(api::SubIfFlags::kSubIfApiFlagExactMatch));
  }
  d.interface_name = f.name;
  d.interface_dev_type = f.ops->name ? f.ops->name : "";
  d.tag = f.tag;
}

bool is_wanted(const api::SwInterfaceDump& request, const Interface& f) {
  if (request.sw_if_index != kApiNone && request.sw_if_index != f.index) return false;
  return !request.name_filter_valid ||
         strcasestr(f.name.c_str(), request.name_filter.c_str()) != nullptr;
}

// The next interface at or behind the cursor's upper half, which is left at it; null: look on from
// there (kSkip), or there is none (kEnd).
const Interface* look(const InterfaceTable& table, uint64_t& cursor, ApiStep& step) {
  auto i = static_cast<uint32_t>(cursor >> 32);
  for (uint32_t n = 0; n < kLook; ++n, ++i, cursor = uint64_t{i} << 32) {
    if (i >= table.end()) {
      step = ApiStep::kEnd;
      return nullptr;
    }
    if (const Interface* f = table.find(i)) return f;
  }
  step = ApiStep::kSkip;
  return nullptr;
}

void add_dumps(ApiRegistry& registry, Net& net) {
  registry.dump<api::SwInterfaceDump, api::SwInterfaceDetails>(
      [&net](const api::SwInterfaceDump& request, uint64_t& cursor, api::SwInterfaceDetails& d) {
        ApiStep step = ApiStep::kItem;
        const Interface* f = look(net.state().interfaces, cursor, step);
        if (!f) return step;
        cursor = (uint64_t{f->index} + 1) << 32;
        if (!is_wanted(request, *f)) return ApiStep::kSkip;
        describe(*f, d);
        return ApiStep::kItem;
      });
  // The cursor's lower half is the queue.
  registry.dump<api::SwInterfaceRxPlacementDump, api::SwInterfaceRxPlacementDetails>(
      [&net](const api::SwInterfaceRxPlacementDump& request, uint64_t& cursor,
             api::SwInterfaceRxPlacementDetails& d) {
        ApiStep step = ApiStep::kItem;
        const Interface* f = look(net.state().interfaces, cursor, step);
        if (!f) return step;
        const auto queue = static_cast<uint32_t>(cursor);
        if ((request.sw_if_index != kApiNone && request.sw_if_index != f->index) ||
            queue >= f->rx_queues.size()) {
          cursor = (uint64_t{f->index} + 1) << 32;
          return ApiStep::kSkip;
        }
        cursor = uint64_t{f->index} << 32 | (queue + 1);
        const RxQueue& rx = f->rx_queues[queue];
        d.sw_if_index = f->index;
        d.queue_id = queue;
        d.worker_id = rx.worker;
        switch (rx.mode.load()) {
          case RxMode::kPolling:
            d.mode = api::RxMode::kRxModeApiPolling;
            break;
          case RxMode::kInterrupt:
            d.mode = api::RxMode::kRxModeApiInterrupt;
            break;
          case RxMode::kAdaptive:
            d.mode = api::RxMode::kRxModeApiAdaptive;
            break;
        }
        return ApiStep::kItem;
      });
}

void add_events(ApiRegistry& registry, Net& net) {
  registry.events<api::WantInterfaceEvents, api::WantInterfaceEventsReply>();
  net.on_interface_event([&registry](IfIndex index, bool admin_up, bool link_up, bool deleted) {
    registry.send_event<api::WantInterfaceEvents>(
        api::SwInterfaceEvent{
            .sw_if_index = index, .flags = status_flags(admin_up, link_up), .deleted = deleted},
        [](api::SwInterfaceEvent& event, const ApiSubscriber& s) {
          event.pid = s.pid;
          return true;
        });
  });
}

template <class Reply>
Reply create_loopback(Net& net, const api::MacAddress& mac, std::optional<uint32_t> instance) {
  const auto index = net.create_loopback(from_api(mac), instance);
  if (index) return {.sw_if_index = *index};
  const Status why = index.error().code;
  return {.retval = why == Status::kInUse ? kApiInstanceInUse : api_retval(why),
          .sw_if_index = kApiNone};
}

void add_loopbacks(ApiRegistry& registry, Net& net) {
  registry.handle<api::CreateLoopback, api::CreateLoopbackReply>(
      [&net](ApiCall&, const api::CreateLoopback& request) {
        return create_loopback<api::CreateLoopbackReply>(net, request.mac_address, {});
      });
  registry.handle<api::CreateLoopbackInstance, api::CreateLoopbackInstanceReply>(
      [&net](ApiCall&, const api::CreateLoopbackInstance& request) {
        std::optional<uint32_t> instance;
        if (request.is_specified) instance = request.user_instance;
        return create_loopback<api::CreateLoopbackInstanceReply>(net, request.mac_address,
                                                                 instance);
      });
  registry.handle<api::DeleteLoopback, api::DeleteLoopbackReply>(
      [&net](ApiCall&, const api::DeleteLoopback& request) {
        return api::DeleteLoopbackReply{
            .retval = net.delete_loopback(request.sw_if_index) ? 0 : kApiInvalidSwIfIndex};
      });
}

}  // namespace

void add_interface_messages(ApiRegistry& registry, Net& net) {
  add_dumps(registry, net);
  add_events(registry, net);
  add_loopbacks(registry, net);
}

}  // namespace loom
