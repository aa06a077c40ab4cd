#include "device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <hostloom/link_monitor.h>
#include <hostloom/virtio_net.h>

#include "net_namespace.h"
#include "rtnetlink.h"

namespace loom::tap {
namespace {

constexpr const char* kTunDevice = "/dev/net/tun";

Error refused(const TapConfig& c, std::string what, int err) {
  std::string text = "TAP tap" + std::to_string(c.id) + " refused: " + std::move(what);
  if (err == EPERM || err == EACCES)
    return error(Status::kPermission, text + ": CAP_NET_ADMIN is missing");
  return error(err == EBUSY ? Status::kExists : Status::kIo, text + ": " + std::strerror(err));
}

Result<int> open_tun(const TapConfig& c) {
  const int fd = open(kTunDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd >= 0) return fd;
  const std::string text = "TAP tap" + std::to_string(c.id) + " refused: " + kTunDevice;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
    return error(Status::kNotFound, text + " is missing (kernel module tun, or not in this /dev)");
  if (errno == EACCES || errno == EPERM)
    return error(Status::kPermission, text + " may not be opened by this user");
  return error(Status::kIo, text + ": " + std::strerror(errno));
}

// Makes fd a queue of the TAP `name`, which the first queue creates.
Result<void> join(const TapConfig& c, int fd, const std::string& name, bool is_first,
                  bool is_multi_queue) {
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (is_multi_queue) flags |= IFF_MULTI_QUEUE;
  // Without it the kernel would attach us to somebody else's TAP of that name.
  if (is_first && !c.attach) flags |= IFF_TUN_EXCL;
  request.ifr_flags = static_cast<short>(flags);
  if (ioctl(fd, TUNSETIFF, &request) == 0) return {};
  if (errno == EBUSY && is_first)
    return error(Status::kExists,
                 "TAP tap" + std::to_string(c.id) + " refused: host interface '" + name + "' " +
                     (c.attach ? "is in use" : "exists already ('attach' would share it)"));
  return refused(c, "host interface '" + name + "'", errno);
}

Result<void> set_offloads(const TapConfig& c, int fd) {
  const int header_size = kVnetSize;
  if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) != 0)
    return refused(c, "virtio-net header of 10 bytes", errno);
  unsigned long offloads = TUN_F_CSUM;
  if (c.segmentation) offloads |= TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (ioctl(fd, TUNSETOFFLOAD, offloads) != 0) return refused(c, "offloads", errno);
  return {};
}

Result<void> read_host_mac(Device& d) {
  ifreq request{};
  std::memcpy(request.ifr_name, d.host_name.data(), d.host_name.size());
  if (ioctl(d.queues[0]->fd, SIOCGIFHWADDR, &request) != 0)
    return refused(d.config, "address of '" + d.host_name + "'", errno);
  std::memcpy(d.host_mac.bytes.data(), request.ifr_hwaddr.sa_data, 6);
  return {};
}

Result<void> configure_host_side(Device& d) {
  const TapConfig& c = d.config;
  Rtnetlink link;
  if (auto r = link.open(); !r) return r;
  Rtnetlink::LinkChange change{.mac = c.host_mac, .mtu = c.host_mtu};
  if (!c.host_bridge.empty()) {
    change.master = if_nametoindex(c.host_bridge.c_str());
    if (change.master == 0)
      return error(Status::kNotFound, "bridge '" + c.host_bridge + "' is not there");
  }
  // In two steps: an address cannot be changed on every kernel once the link is up.
  if (c.host_mac || c.host_mtu || change.master)
    if (auto r = link.change_link(d.host_index, change); !r) return r;
  if (auto r = link.change_link(d.host_index, {.up = true}); !r) return r;
  for (const auto& address : {c.host_ip4, c.host_ip6})
    if (address)
      if (auto r = link.add_address(d.host_index, *address); !r) return r;
  for (const auto& gateway : {c.host_ip4_gw, c.host_ip6_gw})
    if (gateway)
      if (auto r = link.add_default_route(d.host_index, *gateway); !r) return r;
  return {};
}

// All that must happen in the host's namespace: the TAP belongs to the namespace of whoever opens
// it.
Result<void> open_in_namespace(Device& d, uint16_t n_queues) {
  const TapConfig& c = d.config;
  for (uint16_t i = 0; i < n_queues; ++i) {
    auto fd = open_tun(c);
    if (!fd) return fd.error();
    d.queues.push_back(std::make_unique<RxQueue>());
    d.queues.back()->fd = *fd;
    if (auto r = join(c, *fd, d.host_name, i == 0, n_queues > 1); !r) return r;
  }
  if (auto r = set_offloads(c, d.queues[0]->fd); !r) return r;
  d.host_index = if_nametoindex(d.host_name.c_str());
  if (auto r = configure_host_side(d); !r)
    return error(r.error().code,
                 "TAP tap" + std::to_string(c.id) + " refused: " + r.error().message);
  d.monitor_fd = open_link_monitor();  // without it the link is simply always up
  return read_host_mac(d);
}

}  // namespace

Device::~Device() {
  for (const auto& q : queues)
    if (q->fd >= 0) close(q->fd);
}

Result<std::unique_ptr<Device>> open_device(const TapConfig& config, uint16_t n_queues) {
  auto d = std::make_unique<Device>();
  d->config = config;
  d->name = "tap" + std::to_string(config.id);
  d->host_name = config.host_if_name.empty() ? d->name : config.host_if_name;
  if (d->host_name.size() >= IFNAMSIZ || d->host_name.find_first_of("/ %") != std::string::npos)
    return error(Status::kInvalid, "TAP " + d->name + " refused: '" + d->host_name +
                                       "' is not an interface name (at most 15 characters)");
  auto opened =
      run_in_net_namespace(config.host_ns, [&] { return open_in_namespace(*d, n_queues); });
  if (!opened) {
    std::string text = std::move(opened.error().message);
    if (!text.starts_with("TAP ")) text = "TAP " + d->name + " refused: " + text;
    return error(opened.error().code, std::move(text));
  }
  return d;
}

// The host sees a carrier while our interface is up, so that it knows when nobody reads.
Status set_admin(void* device, bool up) noexcept {
  auto& d = *static_cast<Device*>(device);
  const int carrier = up;
  // Kernels before 5.0 cannot: the carrier stays on.
  if (ioctl(d.queues[0]->fd, TUNSETCARRIER, &carrier) != 0 && errno != EINVAL && errno != ENOTTY)
    return Status::kIo;
  return Status::kOk;
}

void describe(void* device, std::string& out) noexcept {
  const auto& d = *static_cast<Device*>(device);
  const auto n = [](const std::atomic<uint64_t>& v) {
    return std::to_string(v.load(std::memory_order_relaxed));
  };
  const TxErrors& e = d.tx_errors;
  out += "tap, host side " + d.host_name + " (" + d.host_mac.str() + ")";
  if (!d.config.host_ns.empty()) out += " in " + d.config.host_ns;
  out += ", " + std::to_string(d.queues.size()) + " rx queues";
  out += d.config.segmentation ? ", csum tso" : ", csum";
  out += "\ntx errors: bad-offsets " + n(e.bad_offsets) + " too-many-segments " +
         n(e.too_many_segments) + " host-down " + n(e.host_down) + " no-memory " + n(e.no_memory) +
         " refused " + n(e.refused);
}

}  // namespace loom::tap
