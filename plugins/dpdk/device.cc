#include "device.h"

#include <algorithm>

#include "devices.h"

namespace loom::dpdk {
namespace {

std::string number(const std::atomic<uint64_t>& v) {
  return std::to_string(v.load(std::memory_order_relaxed));
}

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

// The names of the flags that are set.
template <class Name>
std::string names(uint64_t flags, Name name) {
  std::string text;
  for (; flags != 0; flags &= flags - 1) text += std::string(" ") + name(flags & -flags);
  return text.empty() ? " none" : text;
}

// Those that are not zero, as most of a card's hundreds are.
std::string xstats_text(uint16_t port) {
  const int n = rte_eth_xstats_get_names(port, nullptr, 0);
  if (n <= 0) return "";
  std::vector<rte_eth_xstat_name> names(static_cast<std::size_t>(n));
  std::vector<rte_eth_xstat> values(names.size());
  if (rte_eth_xstats_get_names(port, names.data(), static_cast<unsigned>(n)) != n ||
      rte_eth_xstats_get(port, values.data(), static_cast<unsigned>(n)) != n)
    return "";
  std::string text;
  for (const rte_eth_xstat& v : values)
    if (v.value != 0 && v.id < names.size())
      text += std::string(" ") + names[v.id].name + " " + std::to_string(v.value);
  return text;
}

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
    .destroy = destroy,
    .describe = describe,
    .set_mac = set_mac,
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

void destroy(void* device) noexcept {
  Device& d = *static_cast<Device*>(device);
  stop_port(d);
  d.all->forget(d);
}

void describe(void* device, std::string& out) noexcept {
  Device& d = *static_cast<Device*>(device);
  out += "dpdk " + std::string(d.info.driver_name) + " " + d.config.probe_text() + ", port " +
         std::to_string(d.port) + ", " + link_text(d);
  if (!d.is_started.load(std::memory_order_relaxed)) out += ", stopped";
  out += "\nrx: " + std::to_string(d.queues.size()) + " queues of " +
         std::to_string(d.n_rx_descriptors) + " descriptors, " +
         (d.queues.front()->ready ? "interrupts" : "polled") + ", offloads" +
         names(d.rx_offloads, rte_eth_dev_rx_offload_name);
  if (d.queues.size() > 1) out += "\nrss: " + (d.rss ? rss_text(d.rss) : "the driver's own");
  for (std::size_t q = 0; q < d.queues.size(); ++q) {
    const uint32_t worker = d.queues[q]->worker.load(std::memory_order_relaxed);
    out += (q == 0 ? "\nrx queues: " : ", ") + std::to_string(q) + " worker " +
           (worker == ~0u ? "none yet" : std::to_string(worker));
  }
  out += "\ntx: " + std::to_string(d.n_tx_queues) + " queues of " +
         std::to_string(d.n_tx_descriptors) + " descriptors, offloads" +
         names(d.tx_offloads, rte_eth_dev_tx_offload_name);
  const TxCounters& t = d.tx_counters;
  out += "\ntx: ring-full " + number(t.ring_full) + " stopped " + number(t.stopped) +
         " bad-offsets " + number(t.bad_offsets) + " refused " + number(t.refused) +
         " too-many-segments " + number(t.too_many_segments) + " no-buffers " +
         number(t.no_buffers) + " copied " + number(t.copied);
  rte_eth_stats s{};
  if (rte_eth_stats_get(d.port, &s) == 0)
    out += "\ndevice: missed " + std::to_string(s.imissed) + " rx-errors " +
           std::to_string(s.ierrors) + " rx-no-mbuf " + std::to_string(s.rx_nombuf) +
           " tx-errors " + std::to_string(s.oerrors);
  if (const std::string x = xstats_text(d.port); !x.empty()) out += "\nxstats:" + x;
}

}  // namespace loom::dpdk
