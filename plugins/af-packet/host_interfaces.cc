#include "host_interfaces.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <hostloom/link_monitor.h>
#include <hostloom/worker.h>

namespace loom::af_packet {
namespace {

constexpr uint16_t kMaxQueues = 64;  // the kernel takes 256 sockets to a fanout group

}  // namespace

// The sockets are in promiscuous mode: they receive what is sent to any address.
const DriverOps kDriver{
    .name = "af-packet",
    .tx = tx,
    .rx = rx,
    .set_admin = set_admin,
    .set_mtu = set_mtu,
    .destroy = dispose_device<&Device::all>,
    .describe = describe,
    .set_mac = receive_any_mac,
    .set_rx_mode = note_rx_mode<Device>,
};

HostInterfaces::~HostInterfaces() {
  if (watch_) host_.unwatch_fd(watch_);
}

// Fills in what `create host-interface` left open, and refuses what cannot be.
Result<void> HostInterfaces::complete(HostInterfaceConfig& c) const {
  const std::string refused = "host-" + c.host_name + " refused: ";
  if (const auto at = devices_.find(c.host_name); at != devices_.end()) {
    const std::string& now = host_name(*at->second);
    return error(Status::kExists, refused + "it exists already" +
                                      (now == c.host_name ? "" : ", on what is now '" + now + "'"));
  }
  if (c.mac.is_multicast())
    return error(Status::kInvalid, refused + "MAC " + c.mac.str() + " is not a unicast one");
  // Past the queueing discipline the kernel drops what it has to cut itself, which depends on the
  // device, its features of now and the packet.
  if (c.is_offloaded) c.is_qdisc_bypassed = false;
  return complete_queues(host_, kMaxQueues, refused, {&c.n_rx_queues, &c.n_tx_queues});
}

Result<std::string> HostInterfaces::create(HostInterfaceConfig config) {
  if (auto ok = complete(config); !ok) return ok.error();
  auto opened = open_device(links_, config, config.n_rx_queues);
  if (!opened) return opened.error();
  Device& d = **opened;
  // By another of its names, or by the one it has got since: each packet would come twice.
  for (const auto& [name, other] : devices_)
    if (other->link.index == d.link.index)
      return error(Status::kExists, d.name + " refused: " + other->name + " is the same interface");
  d.all = this;
  InterfaceConfig interface;
  interface.mac = config.mac;
  interface.mtu = std::min(d.link.mtu, kMostDriverMtu);
  d.mtu = interface.mtu;
  interface.max_mtu = kMostDriverMtu;
  interface.caps = kCapScatter;
  if (config.is_offloaded) interface.caps |= kCapTxL4Checksum | kCapTso4 | kCapTso6;
  interface.n_tx_queues = config.n_tx_queues;
  for (const auto& q : d.queues) interface.rx_queues.push_back({.event_fd = q->ready.get()});
  if (auto made = add_device(host_, std::move(interface), d, kDriver, kInputNode, d.name); !made)
    return made.error();
  std::string name = d.name;
  devices_[config.host_name] = opened->release();
  watch_links();
  update(d);  // what has happened since it was opened is no news to a monitor that is new
  update_timer();
  return name;
}

Device* HostInterfaces::find(std::string_view name) const {
  return find_device<Device>(host_, name, kDriver);
}

Result<void> HostInterfaces::remove(std::string_view host_name) {
  // What is shown comes first: two may have changed their names with each other.
  for (const auto& [name, d] : devices_)
    if (af_packet::host_name(*d) == host_name) return remove(d->index);
  if (const auto at = devices_.find(host_name); at != devices_.end())
    return remove(at->second->index);
  return error(Status::kNotFound, "there is no host interface '" + std::string(host_name) + "'");
}

Result<void> HostInterfaces::remove(IfIndex index) {
  return remove_device(host_, index, kDriver, "a host interface");  // ends in dispose
}

void HostInterfaces::remove_all() noexcept { remove_devices(host_, devices_); }

void HostInterfaces::dispose(Device* device) noexcept {
  const std::unique_ptr<Device> d(device);
  devices_.erase(d->config.host_name);
  update_timer();
  free_spare_buffers(host_, d->queues);
}

void HostInterfaces::watch_links() {
  if (watch_) return;
  monitor_ = open_link_monitor();
  if (monitor_)
    watch_ = host_.watch_fd(
        monitor_.get(), [](void* all) { static_cast<HostInterfaces*>(all)->on_link_news(); }, this);
  if (!watch_)
    host_.log(LogLevel::kWarn, "af-packet",
              "no news about links: what becomes of them is not seen");
}

void HostInterfaces::on_link_news() {
  drain_link_news(monitor_.get());
  for (const auto& [name, d] : devices_) update(*d);
  update_timer();
}

// A daemon that has nothing to wait for is not woken.
void HostInterfaces::update_timer() {
  const bool wanted = std::ranges::any_of(devices_, [](const auto& entry) {
    const Device& d = *entry.second;
    return d.must_look_again || d.refused_mtu != 0 || has_ring(d);
  });
  if (!timer_.set(wanted))
    host_.log(LogLevel::kWarn, "af-packet",
              "no timer: a ring that stops is not seen, and no look is tried again before news");
}

void HostInterfaces::on_tick() {
  for (const auto& [name, d] : devices_) {
    if (d->must_look_again || d->refused_mtu != 0) update(*d);
    if (d->link.index != 0 && has_stopped_ring(*d)) do_without_rings(*d);
  }
  update_timer();
}

// Whoever has stopped a ring once can stop the next one.
void HostInterfaces::do_without_rings(Device& d) {
  d.has_rings = false;
  const auto opened = reopen(d);
  d.has_rings = !opened;  // else the next tick tries again
  host_.log(LogLevel::kWarn, "af-packet",
            "a packet that the kernel cannot describe has stopped a ring of " + d.name +
                (opened ? "; each packet is read now" : ": " + opened.error().message));
}

// Said once; then each tick tries again until it is done.
void HostInterfaces::note_failure(Device& d, const Error& e) {
  if (!d.must_look_again)
    host_.log(LogLevel::kWarn, "af-packet",
              "host interface '" + host_name(d) + "' of " + d.name +
                  " cannot be used or looked at; tried again: " + e.message);
  d.must_look_again = true;
  ++d.n_failed_looks;
}

// One that is gone is awaited under its name, and back it is used again.
void HostInterfaces::look_for(Device& d) {
  const std::string who = "host interface '" + d.config.host_name + "' of " + d.name;
  const auto link = links_.look_at(d.config.host_name);
  if (!link && link.error().code != Status::kNotFound && link.error().code != Status::kInvalid)
    return note_failure(d, link.error());
  if (link && link->is_up) {
    d.link = *link;
    if (const auto opened = reopen(d); !opened) {
      d.link = {};
      return note_failure(d, opened.error());
    }
    host_.log(LogLevel::kInfo, "af-packet", who + " is back");
    if (d.asked_mtu > d.link.mtu && raise_host_mtu(d, d.asked_mtu) != Status::kOk)
      host_.log(LogLevel::kWarn, "af-packet",
                who + " keeps mtu " + std::to_string(d.link.mtu) + ", below " +
                    std::to_string(d.asked_mtu) + " of " + d.name);
  }
  d.must_look_again = false;  // what is missing comes with news
}

// The kernel's MTU is ours, up to what the operator has said.
void HostInterfaces::follow_mtu(Device& d) {
  const uint32_t most = d.asked_mtu ? d.asked_mtu : kMostDriverMtu;
  const uint32_t mtu = std::min(d.link.mtu, most);
  if (mtu == d.mtu) {
    d.refused_mtu = 0;
    return;
  }
  const auto done = host_.set_mtu(d.index, mtu);
  if (done) {
    d.mtu = mtu;
    d.refused_mtu = 0;
  } else if (done.error().code != Status::kNotFound && std::exchange(d.refused_mtu, mtu) != mtu) {
    host_.log(LogLevel::kWarn, "af-packet",
              d.name + " keeps mtu " + std::to_string(d.mtu) + ", and not " + std::to_string(mtu) +
                  " of host interface '" + host_name(d) + "': " + done.error().message);
  }
}

// Looks at the kernel's interface, whose link and MTU are ours.
void HostInterfaces::update(Device& d) {
  if (d.link.index != 0) {
    const std::string before = d.link.name;
    const std::string who = "host interface '" + before + "' of " + d.name;
    const auto looked = look_again(links_, d);
    if (looked) {
      d.must_look_again = false;
      if (d.link.name != before)
        host_.log(LogLevel::kInfo, "af-packet", who + " is called '" + d.link.name + "' now");
    } else if (looked.error().code != Status::kNotFound) {
      note_failure(d, looked.error());
    } else {
      host_.log(LogLevel::kWarn, "af-packet",
                who + " is gone; it is used again when there is a '" + d.config.host_name + "'");
    }
  }
  if (d.link.index == 0) look_for(d);
  if (d.link.index != 0) {
    d.host_mtu.store(d.link.mtu, std::memory_order_relaxed);
    follow_mtu(d);
  } else {
    d.refused_mtu = 0;
  }
  (void)host_.set_link(d.index, d.link.is_running);  // one that is being removed has no link to set
}

}  // namespace loom::af_packet
