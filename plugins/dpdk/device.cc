#include "device.h"

#include <algorithm>

#include "devices.h"
#include "listing.h"

namespace loom::dpdk {
namespace {

std::string link_text(const Device& d) {
  if (d.is_removed.load(std::memory_order_relaxed)) return "gone";
  const std::string where = d.is_elsewhere ? ", in another namespace or renamed" : "";
  if (!d.is_link_up) return "link down" + where;
  std::string text = "link up";
  if (d.link.link_speed != RTE_ETH_SPEED_NUM_NONE)
    text += d.link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN
                ? " unknown speed"
                : " " + std::to_string(d.link.link_speed) + " Mb/s";
  return text + (d.link.link_duplex ? " full duplex" : " half duplex") + where;
}

// Those that are not zero, as most of a card's hundreds are.
std::string xstats_text(const Device& d) {
  std::string text;
  for (uint64_t i = 0; const auto x = xstat_of(d, i); ++i)
    if (x->value != 0) text += " " + x->name + " " + std::to_string(x->value);
  return text;
}

// "none" where there are none.
std::string or_none(const std::string& words) { return " " + (words.empty() ? "none" : words); }

}  // namespace

const DriverOps kDriver{
    .name = "dpdk",
    .tx = tx,
    .rx = rx,
    .set_admin = set_admin,
    .set_mtu = set_mtu,
    .destroy = dispose_device<&Device::all>,
    .describe = describe,
    .set_mac = set_mac,
    .set_rx_mode = note_rx_mode<Device>,
};

Status set_admin(void* device, bool up) noexcept {
  Device& d = *static_cast<Device*>(device);
  return d.all->set_admin(d, up);
}

// Buffers to a packet, and the driver's own tables, depend on it: the queues are set up anew.
Status set_mtu(void* device, uint32_t mtu) noexcept {
  Device& d = *static_cast<Device*>(device);
  return d.all->set_mtu(d, mtu);
}

Status set_mac(void* device, const MacAddress& mac) noexcept {
  Device& d = *static_cast<Device*>(device);
  return d.all->set_mac(d, mac);
}

void describe(void* device, std::string& out) noexcept {
  Device& d = *static_cast<Device*>(device);
  out += "dpdk " + std::string(d.info.driver_name) + " " + d.config.probe_text() + ", ";
  if (d.is_called || !d.has_port) {
    out += "waits for its peer at " + d.peer.path + ", stopped";
    return;
  }
  out += "port " + std::to_string(d.port) + ", " + link_text(d);
  if (!d.is_started.load(std::memory_order_relaxed)) out += ", stopped";
  out += "\nrx: " + std::to_string(d.queues.size()) + " queues of " +
         std::to_string(d.n_rx_descriptors) + " descriptors, " +
         (d.queues.front()->ready ? "interrupts" : "polled") + ", offloads" +
         or_none(rx_offload_text(d));
  if (d.queues.size() > 1) out += "\nrss: " + (d.rss ? rss_text(d.rss) : "the driver's own");
  for (std::size_t q = 0; q < d.queues.size(); ++q) {
    const uint32_t worker = d.queues[q]->worker.load(std::memory_order_relaxed);
    out += (q == 0 ? "\nrx queues: " : ", ") + std::to_string(q) + " worker " +
           (worker == ~0u ? "none yet" : std::to_string(worker));
  }
  out += "\ntx: " + std::to_string(d.n_tx_queues) + " queues of " +
         std::to_string(d.n_tx_descriptors) + " descriptors, offloads" +
         or_none(tx_offload_text(d));
  const DeviceCounters c = counters_of(d);
  const auto n = [](uint64_t v) { return std::to_string(v); };
  out += "\ntx: ring-full " + n(c.ring_full) + " stopped " + n(c.stopped) + " bad-offsets " +
         n(c.bad_offsets) + " refused " + n(c.refused) + " too-many-segments " +
         n(c.too_many_segments) + " no-buffers " + n(c.no_buffers) + " copied " + n(c.copied);
  out += "\ndevice: missed " + n(c.device.imissed) + " rx-errors " + n(c.device.ierrors) +
         " rx-no-mbuf " + n(c.device.rx_nombuf) + " tx-errors " + n(c.device.oerrors);
  if (const std::string x = xstats_text(d); !x.empty()) out += "\nxstats:" + x;
}

}  // namespace loom::dpdk
