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
const Device* next_device(const HostInterfaces& all, uint64_t& cursor) {
  const Device* lowest = nullptr;
  for (const auto& [name, d] : all.all())
    if (d->index >= cursor && (!lowest || d->index < lowest->index)) lowest = d;
  if (lowest) cursor = uint64_t{lowest->index} + 1;
  return lowest;
}

ApiStep next(const api::AfPacketDump&, uint64_t& cursor, api::AfPacketDetails& details,
             void* context) {
  const Device* d = next_device(host_interfaces(context), cursor);
  if (!d) return ApiStep::kEnd;
  details.sw_if_index = d->index;
  details.host_if_name = host_name(*d);
  return ApiStep::kItem;
}

ApiStep next_host(const api::AfPacketHostDump& wanted, uint64_t& cursor,
                  api::AfPacketHostDetails& to, void* context) {
  const Device* d;
  do d = next_device(host_interfaces(context), cursor);
  while (d && wanted.sw_if_index != kNoIndex && wanted.sw_if_index != d->index);
  if (!d) return ApiStep::kEnd;
  to.sw_if_index = d->index;
  to.is_there = d->link.index != 0;
  to.is_up = d->link.is_up;
  to.is_link_up = d->link.is_running;
  to.has_rings = has_ring(*d);
  to.is_offloaded = d->config.is_offloaded;
  to.is_qdisc_bypassed = d->config.is_qdisc_bypassed;
  to.host_if_index = d->link.index;
  to.host_mtu = d->link.mtu;
  to.host_mac = d->link.mac.bytes;
  to.num_rx_queues = static_cast<uint16_t>(d->queues.size());
  to.num_tx_queues = d->config.n_tx_queues;
  to.failed_looks = d->n_failed_looks;
  to.host_if_name = host_name(*d);
  to.made_for = d->config.host_name;
  return ApiStep::kItem;
}

api::AfPacketCountersGetReply counters(ApiCall&, const api::AfPacketCountersGet& request,
                                       void* context) {
  constexpr int32_t kNoSuchInterface = -2;  // INVALID_SW_IF_INDEX
  auto* d =
      static_cast<Device*>(host_interfaces(context).host().device(request.sw_if_index, kDriver));
  if (!d) return {.retval = kNoSuchInterface};
  note_kernel_drops(*d);
  const auto n = [](const std::atomic<uint64_t>& v) { return v.load(std::memory_order_relaxed); };
  const InterfaceCounters rx = d->rx_totals.sum();
  const TxCounters& t = d->tx_counters;
  return {.rx_packets = rx.packets,
          .rx_bytes = rx.bytes,
          .rx_errors = rx.errors,
          .kernel_drops = d->kernel_drops,
          .socket_full = n(t.socket_full),
          .queue_full = n(t.queue_full),
          .bad_offsets = n(t.bad_offsets),
          .too_many_segments = n(t.too_many_segments),
          .too_long = n(t.too_long),
          .host_down = n(t.host_down),
          .no_memory = n(t.no_memory),
          .refused = n(t.refused)};
}

}  // namespace

Result<void> add_api(Host& host, HostInterfaces& all) {
  auto api = host.api();
  auto done = api.module(api::kAfPacketModule);
  if (done) done = api.handle<api::AfPacketCreateV3, api::AfPacketCreateV3Reply>(create, &all);
  if (done) done = api.handle<api::AfPacketDelete, api::AfPacketDeleteReply>(remove, &all);
  if (done) done = api.dump<api::AfPacketDump, api::AfPacketDetails>(next, &all);
  if (done) done = api.dump<api::AfPacketHostDump, api::AfPacketHostDetails>(next_host, &all);
  if (done)
    done = api.handle<api::AfPacketCountersGet, api::AfPacketCountersGetReply>(counters, &all);
  return done;
}

}  // namespace loom::af_packet
