#include "host_link.h"

#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace loom::af_packet {
namespace {

Error failed(const std::string& what, int err) {
  if (err == EPERM || err == EACCES)
    return error(Status::kPermission, what + ": CAP_NET_ADMIN is missing");
  if (err == ENODEV || err == ENXIO)
    return error(Status::kNotFound, what + ": there is no such interface");
  return error(err == EINVAL ? Status::kInvalid : Status::kIo, what + ": " + std::strerror(err));
}

}  // namespace

// One interface, asked about or changed by ioctls.
class HostLinks::Request {
 public:
  explicit Request(HostLinks& links) : fd_(links.fd_) {
    if (!fd_) fd_ = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  }
  // `name` is an interface name.
  Request(HostLinks& links, const std::string& name) : Request(links) {
    std::memcpy(r.ifr_name, name.data(), name.size());
    what_ = " '" + name + "'";
  }
  Result<void> make(unsigned long what, const char* verb) {
    if (::ioctl(fd_.get(), what, &r) == 0) return {};
    return failed(verb + what_, errno);
  }
  ifreq r{};

 private:
  UniqueFd& fd_;
  std::string what_;
};

bool is_interface_name(const std::string& name) {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         name.find_first_of("/: \t\n%") == std::string::npos;
}

Result<HostLink> HostLinks::look_at(const std::string& name) {
  if (!is_interface_name(name))
    return error(Status::kInvalid,
                 "'" + name + "' is not an interface name (at most 15 characters)");
  HostLink link;
  Request q(*this, name);
  if (auto ok = q.make(SIOCGIFINDEX, "host interface"); !ok) return ok.error();
  link.index = static_cast<uint32_t>(q.r.ifr_ifindex);
  auto first = name_of(link.index);
  if (!first) return first.error();
  link.name = std::move(*first);
  if (auto ok = q.make(SIOCGIFHWADDR, "address of"); !ok) return ok.error();
  if (q.r.ifr_hwaddr.sa_family != ARPHRD_ETHER)
    return error(Status::kInvalid, "host interface '" + name + "' is not Ethernet");
  std::memcpy(link.mac.bytes.data(), q.r.ifr_hwaddr.sa_data, link.mac.bytes.size());
  if (auto ok = q.make(SIOCGIFMTU, "mtu of"); !ok) return ok.error();
  link.mtu = static_cast<uint32_t>(q.r.ifr_mtu);
  if (auto ok = q.make(SIOCGIFFLAGS, "state of"); !ok) return ok.error();
  link.is_up = q.r.ifr_flags & IFF_UP;
  link.is_running = link.is_up && q.r.ifr_flags & IFF_RUNNING;
  return link;
}

Result<std::string> HostLinks::name_of(uint32_t index) {
  Request q(*this);
  q.r.ifr_ifindex = static_cast<int>(index);
  if (auto ok = q.make(SIOCGIFNAME, "name of a host interface"); !ok) return ok.error();
  return std::string(q.r.ifr_name, ::strnlen(q.r.ifr_name, IFNAMSIZ));
}

Result<void> HostLinks::take_up(const std::string& name) {
  Request q(*this, name);
  if (auto ok = q.make(SIOCGIFFLAGS, "state of"); !ok) return ok;
  if (q.r.ifr_flags & IFF_UP) return {};
  q.r.ifr_flags = static_cast<short>(q.r.ifr_flags | IFF_UP);
  return q.make(SIOCSIFFLAGS, "taking up");
}

Result<void> HostLinks::change_mtu(const std::string& name, uint32_t mtu) {
  Request q(*this, name);
  q.r.ifr_mtu = static_cast<int>(mtu);
  return q.make(SIOCSIFMTU, "changing the mtu of");
}

}  // namespace loom::af_packet
