// How a device comes to be, on EAL's bus, as a port, as an interface, and how it goes.
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <thread>
#include <utility>

#include "admission.h"
#include "devices.h"

namespace loom::dpdk {
namespace {

constexpr uint32_t kMostSegments = 64;
constexpr const char* kVdevBus = "vdev";
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

// Whether the longest packet, its headers and full buffers, is of no more segments than the device
// takes: what it does not take is not sent, as often as TCP repeats it.
bool takes_longest(const Device& d) {
  const uint32_t size = d.mempools->pools().front()->info.data_size;
  return 1 + (65535 + size - 1) / size <= d.most_segments;
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

// Any thread; takes the bus's lock.
bool is_on_bus(const std::string& address) {
  rte_dev_iterator all;
  const rte_device* one = nullptr;
  bool is_there = false;
  RTE_DEV_FOREACH(one, "bus=vdev", &all) is_there |= address == rte_dev_name(one);
  return is_there;
}

// What a peer that has come back must have, as the interface is what it was made as.
bool offers(const rte_eth_dev_info& now, const rte_eth_dev_info& before, const Device& d) {
  return (now.tx_offload_capa & before.tx_offload_capa) == before.tx_offload_capa &&
         (now.rx_offload_capa & before.rx_offload_capa) == before.rx_offload_capa &&
         now.max_rx_queues >= d.queues.size() && now.max_tx_queues >= d.n_tx_queues &&
         most_mtu(now) >= before.max_mtu;
}

}  // namespace

void Devices::create(const DeviceConfig& c, Made made) {
  if (auto trusted = check_trust(c); !trusted) return made(trusted.error());
  const SignalsBlocked blocked;
  making_.push_back(std::make_unique<Device>());
  Device& d = *making_.back();
  d.all = this;
  d.host = &host_;
  d.mempools = &mempools_;
  d.config = c;
  d.name = c.name.empty() ? c.address : c.name;
  d.on_made = std::move(made);
  d.peer = peer_socket_of(c);
  if (const auto trust = trust_of(c); !trust.empty()) host_.log(LogLevel::kWarn, "dpdk", trust);
  if (!d.peer.path.empty()) {
    if (auto ready = ready_for_peer(d); !ready) {
      const Made tell = std::move(d.on_made);
      making_.pop_back();
      return tell(ready.error());
    }
    (void)timer_.set(true);
  }
  begin_probe(d, [this, &d] { finish_making(d); });
}

Result<void> Devices::ready_for_peer(Device& d) {
  if (d.peer.is_ours) {
    auto listener = PeerListener::open(d.peer.path);
    if (!listener) return error(listener.error().code, d.name + ": " + listener.error().message);
    d.listener = std::move(*listener);
  }
  try {
    d.thread = std::make_unique<CallThread>([this] { look_soon(); });
  } catch (const std::system_error& e) {
    return error(Status::kNoMemory, d.name + ": no thread to wait for its peer: " + e.what());
  }
  return {};
}

// EAL's lists are not made for several threads that add and remove devices. A device is added to
// them before its driver is called, which may wait there: so whoever begins a probe waits until it
// is on the bus, and the only one who begins any is the control thread. (One whose driver refused
// it before is there already, and is written to in place.)
void Devices::begin_probe(Device& d, std::function<void()> then) {
  if (!d.thread)
    return call(
        d, [this, &d] { d.outcome = probe(d); }, std::move(then));
  const CallThread& thread = *d.thread;
  call(
      d, [this, &d] { d.outcome = probe(d); }, std::move(then));
  while (!thread.is_over() && !is_on_bus(d.config.address)) std::this_thread::yield();
}

// After an error it has no port.
Result<void> Devices::probe(Device& d) {
  const DeviceConfig& c = d.config;
  const EalLog::Errors errors;
  const auto refused = [&](const std::string& why) {
    const std::string& said = errors.last();
    return error(Status::kIo,
                 c.address + " is not there: " + why + (said.empty() ? "" : " (" + said + ")"));
  };
  const auto gate = admit(c, host_.n_workers());
  if (!gate) return refused(gate.error().message);
  d.gate = *gate;
  if (c.is_virtual) {
    const std::string devargs = d.listener ? as_client(c.devargs) : c.devargs;
    const PeerListener::Turn turn(d.listener.get());
    const int code = rte_eal_hotplug_add(kVdevBus, c.address.c_str(), devargs.c_str());
    d.has_come = turn.has_come();
    if (code != 0) return refused(rte_strerror(-code));
  }
  d.is_plugged = c.is_virtual;
  if (rte_eth_dev_get_port_by_name(c.address.c_str(), &d.port) != 0)
    return refused(c.is_virtual ? "it is no network device"
                                : "no driver of DPDK's has taken it; is it bound to vfio-pci?");
  d.has_port = true;
  auto opened = d.index == kNoIndex ? open(d) : open_again(d);
  if (!opened) {
    stop_unknown_port(d);
    close_port(d);
  }
  return opened;
}

void Devices::close_port(Device& d) {
  (void)call_port(d, rte_eth_dev_close);
  d.has_port = false;
}

void Devices::finish_making(Device& d) {
  if (d.is_disposed) return begin_close(d);
  if (d.outcome) {
    const auto at = std::find_if(making_.begin(), making_.end(),
                                 [&](const auto& other) { return other.get() == &d; });
    devices_.push_back(std::move(*at));
    making_.erase(at);
    const auto added = add_interface(d);
    if (added) {
      d.n_refused = 0;
      if (!d.on_made) host_.log(LogLevel::kNotice, "dpdk", d.name + " is there");
      return end_making(d, d.index);
    }
    making_.push_back(std::move(devices_.back()));
    devices_.pop_back();
    d.outcome = added;
  } else if (d.has_come && ++d.n_refused < kMostRefused) {
    host_.log(LogLevel::kWarn, "dpdk", d.outcome.error().message + "; the next peer has its turn");
    (void)forget(d);
    const uint32_t n_ticks = d.n_ticks_called;  // who waits has waited for so long already
    begin_probe(d, [this, &d] { finish_making(d); });
    d.n_ticks_called = n_ticks;
    return;
  }
  end_making(d, d.outcome.error());
  d.is_disposed = true;
  begin_close(d);
}

// Who asked and has gone has the log.
void Devices::end_making(Device& d, Result<IfIndex> made) {
  if (const auto on_made = std::exchange(d.on_made, nullptr)) return on_made(std::move(made));
  if (!made) host_.log(LogLevel::kError, "dpdk", made.error().message);
}

// Its port, which it has, is stopped and closed; no interface need be there.
void Devices::begin_closing_port(Device& d, std::function<void()> then) {
  const bool was_started = quiesce_port(d);
  if (d.index != kNoIndex) {
    forget_event(d, RTE_ETH_EVENT_INTR_LSC);
    forget_event(d, RTE_ETH_EVENT_INTR_RMV);
  }
  call(
      d,
      [this, &d, was_started] {
        if (was_started) halt_port(d);
        close_port(d);
      },
      std::move(then));
}

void Devices::begin_close(Device& d) {
  if (!d.has_port) return finish_close(d);
  begin_closing_port(d, [this, &d] { finish_close(d); });
}

void Devices::finish_close(Device& d) {
  const auto forgotten = forget(d);
  mempools_.free_orphans();
  const auto on_closed = std::exchange(d.on_closed, nullptr);
  for (List* list : {&making_, &closing_})
    std::erase_if(*list, [&](const auto& other) { return other.get() == &d; });
  if (on_closed) on_closed(forgotten);
}

// DPDK forgets a device of software, so that its name is free again.
Result<void> Devices::forget(Device& d) {
  if (!std::exchange(d.is_plugged, false)) return {};
  const EalLog::Errors errors;
  const int code = rte_eal_hotplug_remove(kVdevBus, d.config.address.c_str());
  if (code == 0) return {};
  const std::string& said = errors.last();
  const std::string what =
      d.config.address + " is not removed from DPDK, its name stays taken: " + rte_strerror(-code) +
      (said.empty() ? "" : " (" + said + ")");
  host_.log(LogLevel::kWarn, "dpdk", what);
  return error(Status::kIo, what);
}

void Devices::create_vdev(const DeviceConfig& c, Made made) {
  if (!is_started_)
    return made(
        error(Status::kUnsupported, "DPDK has not started: `dpdk { }` in the start-up file does"));
  const std::string name = c.name.empty() ? c.address : c.name;
  for (const List* list : {&making_, &devices_, &closing_})
    for (const auto& d : *list)
      if (d->config.address == c.address)
        return made(error(Status::kExists, "DPDK device '" + c.address + "' is there already"));
  const auto has_name = [&](const auto& d) { return d->name == name; };
  if (host_.find_interface(name.c_str()) != kNoIndex ||
      std::any_of(making_.begin(), making_.end(), has_name))
    return made(error(Status::kExists, "interface '" + name + "' is there already"));
  create(c, std::move(made));
  log_.drain();
}

void Devices::remove_vdev(IfIndex index, Removed removed) {
  auto* d = static_cast<Device*>(host_.device(index, kDriver));
  if (d && !d->config.is_virtual)
    return removed(error(Status::kInvalid, d->config.address + " is no device of software"));
  if (d) d->on_closed = removed;
  const auto gone = remove_device(host_, index, kDriver, "a device of DPDK's");
  if (gone) return;
  if (d) d->on_closed = nullptr;
  removed(gone);
}

bool Devices::give_up(const std::string& name, Removed removed) {
  const auto at = std::find_if(making_.begin(), making_.end(),
                               [&](const auto& d) { return d->name == name && !d->is_disposed; });
  if (at == making_.end()) return false;
  Device& d = **at;
  d.is_disposed = true;
  d.on_closed = std::move(removed);
  (void)hang_up(d.peer.path);
  end_making(d, error(Status::kClosed, d.name + " was deleted before its peer came"));
  return true;
}

void Devices::dispose(Device* device) noexcept {
  const auto at = std::find_if(devices_.begin(), devices_.end(),
                               [&](const auto& other) { return other.get() == device; });
  closing_.push_back(std::move(*at));
  devices_.erase(at);
  device->is_disposed = true;
  if (device->is_called) return;  // what is under way ends first
  begin_close(*device);
}

// May be called again after an error, for another peer.
Result<void> Devices::open(Device& d) {
  d.queues.clear();
  d.tx_offloads = d.rss = 0;
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
  d.wanted_mtu = d.mtu;
  d.info.max_mtu = most_mtu(d.info);
  if (auto ok = configure_port(d); !ok) return ok;
  // Started once: that it can, and which queues have a descriptor, is known only then.
  if (auto ok = start_port(d); !ok) return d.traits.is_restarted ? Result<void>() : ok;
  d.is_link_up =
      rte_eth_link_get_nowait(d.port, &d.link) == 0 && d.link.link_status == RTE_ETH_LINK_UP;
  stop_unknown_port(d);
  return {};
}

Result<void> Devices::add_interface(Device& d) {
  InterfaceConfig interface;
  rte_ether_addr mac{};
  if (!d.traits.shares_mac && rte_eth_macaddr_get(d.port, &mac) == 0)
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), interface.mac.bytes.begin());
  const MacAddress interface_mac = interface.mac;
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
  d.mac = interface_mac;
  d.fresh.rx_if = d.index;  // it is down: no worker is in rx
  (void)host_.set_link(d.index, d.is_link_up);
  hear_events(d);
  return {};
}

void Devices::hear_events(Device& d) {
  (void)rte_eth_dev_callback_register(d.port, RTE_ETH_EVENT_INTR_LSC, on_event, &d);
  (void)rte_eth_dev_callback_register(d.port, RTE_ETH_EVENT_INTR_RMV, on_event, &d);
  look_soon();
}

// The driver connects once in a port's life. So the port goes, and another takes its place under
// the interface, which does not notice.
void Devices::reopen(Device& d) {
  if (!d.has_port) return probe_again(d);
  begin_closing_port(d, [this, &d] {
    mempools_.free_orphans();
    d.is_disposed ? begin_close(d) : probe_again(d);
  });
}

void Devices::probe_again(Device& d) {
  if (!forget(d)) {
    d.n_refused = kMostRefused;
    return;
  }
  d.mtu = d.wanted_mtu;
  begin_probe(d, [this, &d] { finish_reopening(d); });
}

// Started, if it is to be up.
Result<void> Devices::open_again(Device& d) {
  rte_eth_dev_info now{};
  if (const int code = rte_eth_dev_info_get(d.port, &now); code != 0)
    return error(Status::kIo, d.name + ": rte_eth_dev_info_get: " + rte_strerror(-code));
  if (!offers(now, d.info, d))
    return error(Status::kUnsupported, d.name + ": its peer can less than the one before");
  d.info.device = now.device;
  d.info.dev_flags = now.dev_flags;
  return configure_port(d);
}

void Devices::finish_reopening(Device& d) {
  if (d.is_disposed) return begin_close(d);
  d.n_ticks_down = 0;
  if (d.outcome) {
    d.n_refused = 0;
    host_.log(LogLevel::kNotice, "dpdk", d.name + ": its peer is back");
    (void)set_mac(d, d.mac);
    hear_events(d);
    return bring(d);
  }
  (void)forget(d);
  if (++d.n_refused == 1)
    host_.log(LogLevel::kWarn, "dpdk",
              d.name + ": no peer is back yet: " + d.outcome.error().message);
  if (d.n_refused < kMostRefused) return;
  host_.log(LogLevel::kError, "dpdk",
            d.name + ": its peer is looked for no more, and there is `delete dpdk vdev` and " +
                "`create dpdk vdev`: " + d.outcome.error().message);
}

}  // namespace loom::dpdk
