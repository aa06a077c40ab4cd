#include "device.h"

#include <algorithm>

#include "devices.h"
#include "listing.h"

namespace loom::dpdk {
namespace {

std::string link_text(const Device& d) {
  if (d.is_removed.load(std::memory_order_relaxed)) return "gone";
  if (!d.is_link_up) return "link down";
  std::string text = "link up";
  if (d.link.link_speed != RTE_ETH_SPEED_NUM_NONE)
    text += d.link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN
                ? " unknown speed"
                : " " + std::to_string(d.link.link_speed) + " Mb/s";
  return text + (d.link.link_duplex ? " full duplex" : " half duplex");
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

// Of a device that is stopped: set up with that MTU, and started if it is to be up.
bool is_set_up(Device& d, uint32_t mtu) {
  d.mtu = mtu;
  auto ok = configure_port(d);
  if (ok && d.is_admin_up) {
    ok = start_port(d);
    if (!ok && d.traits.is_restarted) return true;  // find_peers goes on
  }
  if (!ok) d.host->log(LogLevel::kError, "dpdk", ok.error().message);
  return ok.has_value();
}

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
  if (d.is_admin_up == up) return Status::kOk;
  if (up) {
    if (auto ok = start_port(d); !ok && !d.traits.is_restarted) {
      d.host->log(LogLevel::kError, "dpdk", ok.error().message);
      return Status::kIo;
    }
  } else {
    stop_port(d);
  }
  d.is_admin_up = up;
  d.all->look_soon();
  return Status::kOk;
}

// Buffers to a packet, and the driver's own tables, depend on it: the queues are set up anew.
Status set_mtu(void* device, uint32_t mtu) noexcept {
  Device& d = *static_cast<Device*>(device);
  if (mtu > d.info.max_mtu || mtu < d.info.min_mtu) return Status::kInvalid;
  if (mtu == d.mtu) return Status::kOk;
  if (d.is_removed.load(std::memory_order_relaxed)) return Status::kNotFound;
  const uint32_t before = d.mtu;
  stop_port(d);
  d.all->look_soon();
  if (is_set_up(d, mtu)) return Status::kOk;
  stop_port(d);
  (void)is_set_up(d, before);
  return Status::kIo;
}

Status set_mac(void* device, const MacAddress& mac) noexcept {
  Device& d = *static_cast<Device*>(device);
  if (d.traits.shares_mac) return Status::kOk;  // it is promiscuous
  rte_ether_addr address;
  static_assert(sizeof address == sizeof mac.bytes);
  std::copy(std::begin(mac.bytes), std::end(mac.bytes), address.addr_bytes);
  const int code = rte_eth_dev_default_mac_addr_set(d.port, &address);
  if (code != -ENOTSUP) return code == 0 ? Status::kOk : Status::kIo;
  // One that cannot be told another receives what is sent to it if it receives everything.
  return rte_eth_promiscuous_enable(d.port) == 0 ? Status::kOk : Status::kUnsupported;
}

void describe(void* device, std::string& out) noexcept {
  Device& d = *static_cast<Device*>(device);
  out += "dpdk " + std::string(d.info.driver_name) + " " + d.config.probe_text() + ", port " +
         std::to_string(d.port) + ", " + link_text(d);
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
