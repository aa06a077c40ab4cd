#include "devices.h"

#include <net/if.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_version.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include <hostloom/link_monitor.h>
#include <hostloom/waker.h>

#include "memif_guard.h"

namespace loom::dpdk {
namespace {

constexpr uint32_t kMostSegments = 64;
constexpr const char* kVdevBus = "vdev";
// The driver believes whatever its peer writes (README.md, "Peers of net_memif").
constexpr const char* kTrustsItsPeer =
    ": net_memif trusts its peer, which can read and write this daemon's memory; for peers that "
    "are not to be trusted there is `create interface memif`";

// As VPP calls cards: by the fastest that they can be, then bus, device and function.
std::string pci_name(const Device& d) {
  static constexpr std::pair<uint32_t, const char*> kSpeeds[] = {
      {RTE_ETH_LINK_SPEED_200G, "TwoHundredGigabitEthernet"},
      {RTE_ETH_LINK_SPEED_100G, "HundredGigabitEthernet"},
      {RTE_ETH_LINK_SPEED_50G, "FiftyGigabitEthernet"},
      {RTE_ETH_LINK_SPEED_40G, "FortyGigabitEthernet"},
      {RTE_ETH_LINK_SPEED_25G, "TwentyFiveGigabitEthernet"},
      {RTE_ETH_LINK_SPEED_10G, "TenGigabitEthernet"},
      {RTE_ETH_LINK_SPEED_1G, "GigabitEthernet"},
  };
  const char* kind = "Ethernet";
  for (const auto& [speed, name] : kSpeeds)
    if (d.info.speed_capa & speed) {
      kind = name;
      break;
    }
  unsigned domain = 0, bus = 0, device = 0, function = 0;
  (void)std::sscanf(d.config.address.c_str(), "%x:%x:%x.%x", &domain, &bus, &device, &function);
  char at[32];
  if (domain != 0)
    std::snprintf(at, sizeof at, "%x/%x/%x/%x", domain, bus, device, function);
  else
    std::snprintf(at, sizeof at, "%x/%x/%x", bus, device, function);
  return std::string(kind) + at;
}

// The largest packet by its MTU and by its frame.
uint16_t most_mtu(const rte_eth_dev_info& info) {
  uint32_t most =
      info.max_mtu == 0 ? kMostDriverMtu : std::min<uint32_t>(info.max_mtu, kMostDriverMtu);
  if (info.max_mtu == 0xffff && info.max_rx_pktlen > RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN)
    most = std::min<uint32_t>(most, info.max_rx_pktlen - RTE_ETHER_HDR_LEN - RTE_ETHER_CRC_LEN);
  return static_cast<uint16_t>(most);
}

// Whether the kernel's interface that the device stands on is gone: drivers do not notice, and go
// on saying that the link is up.
bool has_lost_host(const Device& d) {
  char name[IF_NAMESIZE];
  return d.info.if_index != 0 && !::if_indextoname(d.info.if_index, name);
}

// Whether the longest packet, its headers and full buffers, is of no more segments than the device
// takes: what it does not take is not sent, as often as TCP repeats it.
bool takes_longest(const Device& d) {
  const uint32_t size = d.mempools->pools().front()->info.data_size;
  return 1 + (65535 + size - 1) / size <= d.most_segments;
}

// Whether the device is without a peer that is to be found by starting it again.
bool seeks_peer(const Device& d) noexcept {
  return d.traits.is_restarted && d.is_admin_up &&
         !(d.is_link_up && d.is_started.load(std::memory_order_relaxed));
}

bool has_argument(const DeviceConfig& c, const std::string& argument) {
  return ("," + c.devargs + ",").find("," + argument + ",") != std::string::npos;
}

// On EAL's own thread.
int on_event(uint16_t, rte_eth_event_type type, void* device, void*) {
  auto& d = *static_cast<Device*>(device);
  if (type == RTE_ETH_EVENT_INTR_RMV) d.is_removed.store(true, std::memory_order_relaxed);
  d.all->look_soon();
  return 0;
}

// Not while EAL's thread is in it; it does not wait for us there.
void forget_event(Device& d, rte_eth_event_type type) {
  while (rte_eth_dev_callback_unregister(d.port, type, on_event, &d) == -EAGAIN)
    std::this_thread::yield();
}

// How many queues of so many that were asked for; 0 asks for one a worker.
uint16_t queues(uint16_t wanted, uint32_t n_workers, uint16_t most) {
  const uint32_t n = wanted ? wanted : n_workers;
  return static_cast<uint16_t>(std::clamp<uint32_t>(n, 1, std::max<uint16_t>(most, 1)));
}

}  // namespace

Result<void> Devices::start() {
  if (!config.is_given) return {};
  if (auto placed = place_buffers(); !placed) return placed;
  if (auto made = mempools_.make(); !made) return made;
  if (auto watched = watch_links(); !watched) return watched;
  is_started_ = true;
  for (const DeviceConfig& c : config.devices) {
    const auto made = create(c);
    log_.drain();
    if (!made) host_.log(LogLevel::kError, "dpdk", made.error().message);
  }
  return {};
}

// EAL starts when the core asks for the first pool's memory: it has agreed to move its buffers by
// then, and has given back the huge pages that they lay on. What is refused afterwards, for want of
// memory, leaves EAL started, and unused: it cannot be started again, nor its threads be ended.
Result<void> Devices::place_buffers() {
  BufferPoolInfo pool;
  for (uint32_t i = 0; host_.buffer_pool(i, pool) == Status::kOk; ++i)
    buffer_bytes_ += pool.n_buffers * (pool.stride - pool.front + kFront);
  const auto provide = [](void* self, uint32_t index, std::size_t size, int numa_node,
                          std::span<std::byte>* out, uint64_t* page_size, std::string* message) {
    Devices& all = *static_cast<Devices*>(self);
    if (all.eal_.arguments.empty()) {
      auto state = start_eal(all.host_, all.config, all.buffer_bytes_, all.log_);
      if (!state) {
        *message = state.error().message;
        return state.error().code;
      }
      all.eal_ = std::move(*state);
    }
    return provide_buffers(nullptr, index, size, numa_node, out, page_size, message);
  };
  return host_.place_buffers({.front = kFront, .context = this, .provide = provide});
}

Result<void> Devices::watch_links() {
  news_ = open_eventfd();
  if (!news_) return error(Status::kIo, std::string("eventfd: ") + std::strerror(errno));
  news_watch_ = host_.watch_fd(
      news_.get(),
      [](void* self) {
        auto& all = *static_cast<Devices*>(self);
        uint64_t n;
        (void)!::read(all.news_.get(), &n, sizeof n);
        all.look_at_links();
      },
      this);
  monitor_ = open_link_monitor();
  if (monitor_)
    monitor_watch_ = host_.watch_fd(
        monitor_.get(),
        [](void* self) {
          auto& all = *static_cast<Devices*>(self);
          drain_link_news(all.monitor_.get());
          all.look_at_links();
        },
        this);
  return {};
}

void Devices::look_soon() noexcept {
  const uint64_t one = 1;
  (void)!::write(news_.get(), &one, sizeof one);
}

void Devices::look_at_links() {
  for (const auto& d : devices_) {
    if (d->is_removed.load(std::memory_order_relaxed) || has_lost_host(*d)) {
      if (!d->is_gone) note_removed(*d);
      continue;
    }
    // Stopped, it says nothing about the other end; until it is started again, the link is as it
    // was.
    if (!d->is_started.load(std::memory_order_relaxed)) continue;
    (void)rte_eth_link_get_nowait(d->port, &d->link);
    const bool is_up = d->link.link_status == RTE_ETH_LINK_UP;
    if (is_up == d->is_link_up) continue;
    d->is_link_up = is_up;
    (void)host_.set_link(d->index, is_up);
  }
  mempools_.free_orphans();
  (void)timer_.set(std::any_of(devices_.begin(), devices_.end(),
                               [&](const auto& d) { return needs_ticks(*d); }));
}

// A daemon that has nothing to wait for is not woken: most links bring their news, and those of
// devices that are down cannot change.
bool Devices::needs_ticks(const Device& d) const noexcept {
  if (d.is_gone) return false;
  if (seeks_peer(d)) return true;
  if (!d.is_started.load(std::memory_order_relaxed) || d.traits.has_fixed_link) return false;
  const bool has_news = d.info.if_index != 0 ? monitor_watch_ != 0 : d.has_link_interrupt;
  return !has_news;
}

// Whatever its link was: its descriptors would be readable for ever.
void Devices::note_removed(Device& d) {
  host_.log(LogLevel::kWarn, "dpdk", d.name + ": the device is gone");
  d.is_gone = true;
  d.is_removed.store(true, std::memory_order_relaxed);
  if (std::exchange(d.is_link_up, false)) (void)host_.set_link(d.index, false);
  stop_port(d);
}

Result<void> Devices::create(const DeviceConfig& c) {
  const SignalsBlocked blocked;
  auto made = std::make_unique<Device>();
  Device& d = *made;
  d.all = this;
  d.host = &host_;
  d.mempools = &mempools_;
  d.config = c;
  d.name = c.name.empty() ? c.address : c.name;
  (void)log_.take_last_error();
  const auto refused = [&](const std::string& why) {
    const std::string said = log_.take_last_error();
    return error(Status::kIo,
                 c.address + " is not there: " + why + (said.empty() ? "" : " (" + said + ")"));
  };
  if (has_memif_inside(c.address, c.devargs))
    return refused("net_memif is no part of another device here");
  if (is_memif(c.address)) {
    const auto gate = guard_memif(host_.n_workers());
    if (!gate) return refused("this net_memif cannot be kept from harm: " + gate.error().message);
    d.gate = *gate;
  }
  if (c.is_virtual)
    if (const int code = rte_eal_hotplug_add(kVdevBus, c.address.c_str(), c.devargs.c_str());
        code != 0)
      return refused(rte_strerror(-code));
  if (rte_eth_dev_get_port_by_name(c.address.c_str(), &d.port) != 0) {
    if (c.is_virtual) (void)forget(c);
    return refused(c.is_virtual ? "it is no network device"
                                : "no driver of DPDK's has taken it; is it bound to vfio-pci?");
  }
  auto opened = open(d);
  if (opened) {
    devices_.push_back(std::move(made));
    opened = add_interface(d);
    if (opened) {
      if (d.gate) host_.log(LogLevel::kWarn, "dpdk", d.name + kTrustsItsPeer);
      return {};
    }
    made = std::move(devices_.back());
    devices_.pop_back();
  }
  stop_port(d);
  (void)close(d);
  return opened;
}

Result<void> Devices::close(Device& d) {
  (void)call_port(d, rte_eth_dev_close);
  return d.config.is_virtual ? forget(d.config) : Result<void>();
}

// DPDK forgets a device of software, so that its name is free again.
Result<void> Devices::forget(const DeviceConfig& c) {
  (void)log_.take_last_error();
  const int code = rte_eal_hotplug_remove(kVdevBus, c.address.c_str());
  if (code == 0) return {};
  const std::string said = log_.take_last_error();
  const std::string what =
      c.address + " is not removed from DPDK, its name stays taken: " + rte_strerror(-code) +
      (said.empty() ? "" : " (" + said + ")");
  host_.log(LogLevel::kWarn, "dpdk", what);
  return error(Status::kIo, what);
}

Result<IfIndex> Devices::create_vdev(const DeviceConfig& c) {
  if (!is_started_)
    return error(Status::kUnsupported,
                 "DPDK has not started: `dpdk { }` in the start-up file does");
  const std::string name = c.name.empty() ? c.address : c.name;
  for (const auto& d : devices_)
    if (d->config.address == c.address)
      return error(Status::kExists, "DPDK device '" + c.address + "' is there already");
  if (host_.find_interface(name.c_str()) != kNoIndex)
    return error(Status::kExists, "interface '" + name + "' is there already");
  const auto made = create(c);
  log_.drain();
  if (!made) return made.error();
  return devices_.back()->index;
}

Result<void> Devices::remove_vdev(IfIndex index) {
  const Device* d = find(index);
  if (d && !d->config.is_virtual)
    return error(Status::kInvalid, d->config.address + " is no device of software");
  last_close_ = {};
  const auto removed = remove_device(host_, index, kDriver, "a device of DPDK's");
  return removed ? last_close_ : removed;
}

const Device* Devices::next_from(uint64_t least_index) const noexcept {
  const Device* lowest = nullptr;
  for (const auto& d : devices_)
    if (d->index >= least_index && (!lowest || d->index < lowest->index)) lowest = d.get();
  return lowest;
}

const Device* Devices::find(IfIndex index) const noexcept {
  const Device* d = next_from(index);
  return d && d->index == index ? d : nullptr;
}

Result<void> Devices::open(Device& d) {
  if (const int code = rte_eth_dev_info_get(d.port, &d.info); code != 0)
    return error(Status::kIo, d.name + ": rte_eth_dev_info_get: " + rte_strerror(-code));
  d.traits = traits_of(d.info.driver_name);
  // With it the peer reads where the bytes are.
  if (has_argument(d.config, "zero-copy=yes")) d.traits.copies_at_once = false;
  // Whom others connect to is found by them.
  if (has_argument(d.config, "role=server") || has_argument(d.config, "role=master"))
    d.traits.is_restarted = false;
  if (d.config.name.empty() && !d.config.is_virtual) d.name = pci_name(d);
  const uint32_t n_workers = host_.n_workers();
  const uint16_t n_rx = queues(d.config.n_rx_queues, n_workers, d.info.max_rx_queues);
  d.n_tx_queues = queues(d.config.n_tx_queues, n_workers, d.info.max_tx_queues);
  if (d.traits.wants_equal_queues) {
    if (d.config.n_tx_queues == 0) d.n_tx_queues = n_rx;
    if (d.n_tx_queues != n_rx)
      return error(Status::kInvalid,
                   d.name + ": " + d.traits.driver + " has as many tx queues as rx queues, not " +
                       std::to_string(d.n_tx_queues) + " and " + std::to_string(n_rx));
  }
  if (n_rx < d.config.n_rx_queues || d.n_tx_queues < d.config.n_tx_queues)
    host_.log(LogLevel::kWarn, "dpdk",
              d.name + " has " + std::to_string(n_rx) + " rx and " + std::to_string(d.n_tx_queues) +
                  " tx queues, fewer than configured");
  for (uint16_t q = 0; q < n_rx; ++q) d.queues.push_back(std::make_unique<RxQueue>());
  if (n_rx > 1)
    d.rss = (d.config.rss ? d.config.rss : kRssFiveTuple) & d.info.flow_type_rss_offloads;
  const Mempools::Pool& pool = mempools_.for_socket(rte_eth_dev_socket_id(d.port));
  d.pool = pool.mempool;
  d.fresh.pool = static_cast<uint16_t>(pool.index);
  d.fresh.data_size = static_cast<uint16_t>(pool.info.data_size);
  // Where the kernel tells us, the device is asked each time: net_tap's own interrupt tells nobody,
  // it only keeps what it saw for who asks later, and its thread may come after us.
  const bool is_told_by_kernel = d.info.if_index != 0 && monitor_watch_ != 0;
  d.has_link_interrupt = !is_told_by_kernel && *d.info.dev_flags & RTE_ETH_DEV_INTR_LSC;

  const rte_eth_desc_lim& limit = d.info.tx_desc_lim;
  d.most_segments = d.most_mtu_segments = kMostSegments;
  if (limit.nb_seg_max) d.most_segments = std::min<uint32_t>(limit.nb_seg_max, kMostSegments);
  if (limit.nb_mtu_seg_max) d.most_mtu_segments = limit.nb_mtu_seg_max;
  d.most_mtu_segments = std::min(d.most_mtu_segments, d.most_segments);

  const uint64_t tx = d.info.tx_offload_capa;
  d.has_lro = config.has_lro;
  d.takes_chains =
      config.has_multi_segment && (d.traits.takes_chains || tx & RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
  if (config.has_multi_segment) d.tx_offloads |= tx & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  constexpr uint64_t kL4 = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
  if (config.has_tx_checksum && !d.traits.copies_at_once) {
    d.tx_offloads |= tx & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
    if ((tx & kL4) == kL4) d.tx_offloads |= kL4;
    if (d.config.has_tso && takes_longest(d) && d.tx_offloads & kL4 &&
        d.tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
      d.tx_offloads |= tx & RTE_ETH_TX_OFFLOAD_TCP_TSO;
  }

  uint16_t mtu = 0;
  d.mtu = rte_eth_dev_get_mtu(d.port, &mtu) == 0 && mtu != 0 ? mtu : 1500;
  if (d.mtu > kMostDriverMtu) d.mtu = 1500;
  d.info.max_mtu = most_mtu(d.info);
  if (auto ok = configure_port(d); !ok) return ok;
  // Started once: that it can, and which queues have a descriptor, is known only then.
  if (auto ok = start_port(d); !ok) return d.traits.is_restarted ? Result<void>() : ok;
  d.is_link_up =
      rte_eth_link_get_nowait(d.port, &d.link) == 0 && d.link.link_status == RTE_ETH_LINK_UP;
  stop_port(d);
  return {};
}

Result<void> Devices::add_interface(Device& d) {
  InterfaceConfig interface;
  rte_ether_addr mac{};
  if (!d.traits.shares_mac && rte_eth_macaddr_get(d.port, &mac) == 0)
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), interface.mac.bytes.begin());
  interface.mtu = d.mtu;
  interface.max_mtu = d.info.max_mtu;
  if (d.takes_chains) interface.caps |= kCapScatter;
  if (d.tx_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) interface.caps |= kCapTxIp4Checksum;
  if (d.tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) interface.caps |= kCapTxL4Checksum;
  if (d.tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) interface.caps |= kCapTso4 | kCapTso6;
  interface.n_tx_queues = d.n_tx_queues;
  for (const auto& q : d.queues) interface.rx_queues.push_back({.event_fd = q->ready.get()});
  if (auto made = add_device(host_, std::move(interface), d, kDriver, kInputNode, d.name); !made)
    return made;
  d.fresh.rx_if = d.index;  // it is down: no worker is in rx
  (void)host_.set_link(d.index, d.is_link_up);
  (void)rte_eth_dev_callback_register(d.port, RTE_ETH_EVENT_INTR_LSC, on_event, &d);
  (void)rte_eth_dev_callback_register(d.port, RTE_ETH_EVENT_INTR_RMV, on_event, &d);
  look_soon();
  return {};
}

// Those that are still without a link half a second after they were started: not while they shake
// hands, as the driver's own thread does that.
void Devices::find_peers() {
  for (const auto& d : devices_) {
    if (!seeks_peer(*d) || ++d->n_ticks_down < 2) continue;
    stop_port(*d);
    (void)start_port(*d);
  }
}

void Devices::dispose(Device* device) noexcept {
  Device& d = *device;
  stop_port(d);
  forget_event(d, RTE_ETH_EVENT_INTR_LSC);
  forget_event(d, RTE_ETH_EVENT_INTR_RMV);
  last_close_ = close(d);
  mempools_.free_orphans();
  std::erase_if(devices_, [&](const auto& other) { return other.get() == &d; });
}

void Devices::remove_all() noexcept {
  while (!devices_.empty()) {
    const std::size_t n = devices_.size();
    Device& d = *devices_.back();
    if (host_.remove_interface(d.index) == Status::kOk && devices_.size() < n) continue;
    dispose(&d);
  }
  if (news_watch_) host_.unwatch_fd(news_watch_);
  if (monitor_watch_) host_.unwatch_fd(monitor_watch_);
  news_watch_ = monitor_watch_ = 0;
  timer_.close();
}

}  // namespace loom::dpdk
