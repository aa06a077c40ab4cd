#include "messages.h"

#include <string>

namespace loom::dpdk {
namespace {

// What both messages have.
template <class Request>
Result<DeviceConfig> common_config_of(const Request& r, const DeviceConfig& defaults) {
  auto config = parse_vdev(r.device, defaults);
  if (!config) return config;
  if (r.num_rx_queues > kMostQueues || r.num_tx_queues > kMostQueues)
    return error(Status::kInvalid, "more than " + std::to_string(kMostQueues) + " queues");
  if (r.num_rx_desc > kMostDescriptors || r.num_tx_desc > kMostDescriptors)
    return error(Status::kInvalid,
                 "more than " + std::to_string(kMostDescriptors) + " descriptors");
  config->name = r.interface_name;
  if (r.num_rx_queues != 0) config->n_rx_queues = r.num_rx_queues;
  if (r.num_tx_queues != 0) config->n_tx_queues = r.num_tx_queues;
  if (r.num_rx_desc != 0) config->n_rx_descriptors = r.num_rx_desc;
  if (r.num_tx_desc != 0) config->n_tx_descriptors = r.num_tx_desc;
  if (r.no_tso) config->has_tso = false;
  if (r.no_rx_interrupts) config->has_rx_interrupts = false;
  return config;
}

}  // namespace

Result<DeviceConfig> config_of(const api::DpdkVdevCreate& r, const DeviceConfig& defaults) {
  return common_config_of(r, defaults);
}

Result<DeviceConfig> config_of(const api::DpdkVdevCreateV2& r, const DeviceConfig& defaults) {
  auto config = common_config_of(r, defaults);
  if (!config) return config;
  const auto rss = rss_of_words(r.rss);
  if (!rss) return rss.error();
  if (*rss != 0) config->rss = *rss;
  if (r.vlan_strip) config->strips_vlan = true;
  config->trusts_peer = r.trust_peer;
  return config;
}

}  // namespace loom::dpdk
