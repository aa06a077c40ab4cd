#include "taps.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <hostloom/worker.h>

#include "rtnetlink.h"

namespace loom::tap {
namespace {

constexpr uint16_t kMaxQueues = 64;  // the kernel takes 256

// The kernel's side of the TAP has been deleted. Its descriptors now report an error to every
// epoll, for ever: they are replaced by ones that are never readable and cannot be written.
void silence(Device& d) noexcept {
  for (const auto& q : d.queues) {
    const int never = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (never < 0) continue;
    dup3(never, q->fd, O_CLOEXEC);
    close(never);
  }
}

}  // namespace

// Nothing to tell the kernel: a TAP takes frames of any size, whatever its own MTU, and hands over
// every frame, to whatever address. Its own end keeps its address.
const DriverOps kDriver{
    .name = "tap",
    .tx = tx,
    .rx = rx,
    .set_admin = set_admin,
    .set_mtu = take_any_mtu,
    .destroy = dispose_device<&Device::taps>,
    .describe = describe,
    .set_mac = receive_any_mac,
};

// Fills in what `create tap` left open, and refuses what cannot be.
Result<void> Taps::complete(TapConfig& c) const {
  if (c.id == kAnyId) {
    // A name may be another interface's: one that the operator calls so.
    const auto is_taken = [&](uint32_t id) {
      return devices_.contains(id) ||
             host_.find_interface(("tap" + std::to_string(id)).c_str()) != kNoIndex;
    };
    for (c.id = 0; is_taken(c.id);) ++c.id;
  }
  const std::string refused = "TAP tap" + std::to_string(c.id) + " refused: ";
  if (devices_.contains(c.id)) return error(Status::kExists, refused + "it exists already");
  if (c.host_mtu != 0 && (c.host_mtu < 68 || c.host_mtu > kMostDriverMtu))
    return error(Status::kInvalid, refused + "host-mtu-size " + std::to_string(c.host_mtu) +
                                       " is not from 68 to " + std::to_string(kMostDriverMtu));
  return complete_queues(host_, kMaxQueues, refused, {&c.n_rx_queues, &c.n_tx_queues});
}

Result<std::string> Taps::create(TapConfig config) {
  if (auto r = complete(config); !r) return r.error();
  auto opened = open_device(config, config.n_rx_queues);
  if (!opened) return opened.error();
  Device& d = **opened;
  d.host = &host_;
  d.taps = this;
  InterfaceConfig interface;
  interface.mac = config.mac;
  interface.max_mtu = kMostDriverMtu;  // the kernel's limit for a TAP, too
  interface.caps = kCapTxL4Checksum | kCapScatter;
  if (config.segmentation) interface.caps |= kCapTso4 | kCapTso6;
  interface.n_tx_queues = config.n_tx_queues;
  for (const auto& q : d.queues) interface.rx_queues.push_back({.event_fd = q->fd});
  if (auto made = add_device(host_, std::move(interface), d, kDriver, kInputNode, "TAP " + d.name);
      !made)
    return made.error();
  if (d.monitor_fd) d.monitor = host_.watch_fd(d.monitor_fd.get(), on_link_news, &d);
  (void)host_.set_link(d.index, true);  // the interface was made a moment ago
  devices_[config.id] = opened->release();
  return d.name;
}

const Device* Taps::find(std::string_view name) const {
  return find_device<Device>(host_, name, kDriver);
}

Result<void> Taps::remove(std::string_view name) {
  if (const Device* d = find(name)) return remove(d->index);
  return error(Status::kNotFound, "there is no TAP '" + std::string(name) + "'");
}

Result<void> Taps::remove(IfIndex index) {
  return remove_device(host_, index, kDriver, "a TAP");  // ends in dispose
}

void Taps::remove_all() noexcept { remove_devices(host_, devices_); }

void Taps::dispose(Device* device) noexcept {
  std::unique_ptr<Device> d(device);
  devices_.erase(d->config.id);
  if (d->monitor) host_.unwatch_fd(d->monitor);
  free_spare_buffers(host_, d->queues);
}

// Control thread: something happened to a link in the host's namespace.
void Taps::on_link_news(void* device) {
  Device& d = *static_cast<Device*>(device);
  const auto up = read_link_news(d.monitor_fd.get(), d.host_index);
  ifreq request{};
  const bool is_gone = ioctl(d.queues[0]->fd, TUNGETIFF, &request) != 0 && errno == EBADFD;
  if (is_gone) {
    silence(d);
    d.host->log(LogLevel::kWarn, "tap",
                "host interface '" + d.host_name + "' of " + d.name + " has been deleted");
  }
  if (is_gone || up)  // an interface that is being removed has no link to set
    (void)d.host->set_link(d.index, !is_gone && *up);
}

}  // namespace loom::tap
