// Module "af_packet": what the commands do, over the binary API. Control thread.
#include <hostloom/api_server.h>

#include "af_packet.api.h"
#include "host_interfaces.h"

namespace loom::af_packet {
namespace {

HostInterfaces& host_interfaces(void* context) { return *static_cast<HostInterfaces*>(context); }

int32_t refused(HostInterfaces& all, const char* request, const Error& e) {
  all.host().log(LogLevel::kWarn, "af-packet", std::string(request) + ": " + e.message);
  return api_retval(e.code);
}

// What the request asks for; what cannot be is refused here or by HostInterfaces::create.
Result<HostInterfaceConfig> config_of(const api::AfPacketCreateV3& r) {
  if (r.mode != api::AfPacketMode::kAfPacketApiModeEthernet)
    return error(Status::kUnsupported, "mode is not ethernet");
  const auto has = [&](api::AfPacketFlags flag) {
    return (static_cast<uint32_t>(r.flags) & static_cast<uint32_t>(flag)) != 0;
  };
  HostInterfaceConfig c;
  c.host_name = r.host_if_name;
  c.n_rx_queues = r.num_rx_queues;
  c.n_tx_queues = r.num_tx_queues;
  c.is_offloaded = has(api::AfPacketFlags::kAfPacketApiFlagCksumGso);
  c.is_qdisc_bypassed = has(api::AfPacketFlags::kAfPacketApiFlagQdiscBypass);
  if (!r.use_random_hw_addr) {
    c.mac = MacAddress{r.hw_addr};
    if (c.mac == MacAddress{})
      return error(Status::kInvalid, "hw_addr is zero without use_random_hw_addr");
  }
  return c;
}

api::AfPacketCreateV3Reply create(ApiCall&, const api::AfPacketCreateV3& request, void* context) {
  HostInterfaces& all = host_interfaces(context);
  auto config = config_of(request);
  const auto name = config ? all.create(std::move(*config)) : Result<std::string>(config.error());
  if (!name)
    return {.retval = refused(all, "af_packet_create_v3", name.error()), .sw_if_index = kNoIndex};
  return {.sw_if_index = all.find(*name)->index};
}

api::AfPacketDeleteReply remove(ApiCall&, const api::AfPacketDelete& request, void* context) {
  HostInterfaces& all = host_interfaces(context);
  const auto removed = all.remove(request.host_if_name);
  return {.retval = removed ? 0 : refused(all, "af_packet_delete", removed.error())};
}

// The cursor is a number of ours, which grow: interfaces may come and go meanwhile.
ApiStep next(const api::AfPacketDump&, uint64_t& cursor, api::AfPacketDetails& details,
             void* context) {
  const Device* lowest = nullptr;
  for (const auto& [name, d] : host_interfaces(context).all())
    if (d->index >= cursor && (!lowest || d->index < lowest->index)) lowest = d;
  if (!lowest) return ApiStep::kEnd;
  cursor = uint64_t{lowest->index} + 1;
  details.sw_if_index = lowest->index;
  details.host_if_name = host_name(*lowest);
  return ApiStep::kItem;
}

}  // namespace

Result<void> add_api(Host& host, HostInterfaces& all) {
  auto api = host.api();
  auto done = api.module(api::kAfPacketModule);
  if (done) done = api.handle<api::AfPacketCreateV3, api::AfPacketCreateV3Reply>(create, &all);
  if (done) done = api.handle<api::AfPacketDelete, api::AfPacketDeleteReply>(remove, &all);
  if (done) done = api.dump<api::AfPacketDump, api::AfPacketDetails>(next, &all);
  return done;
}

}  // namespace loom::af_packet
