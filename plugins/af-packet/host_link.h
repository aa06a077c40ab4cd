// An interface of the kernel as the driver sees it: by name, in the daemon's own namespace. Control
// thread. One socket is kept for all requests: a daemon that has run out of descriptors goes on
// seeing what becomes of its interfaces.
#pragma once
#include <string>

#include <hostloom/address.h>
#include <hostloom/status.h>
#include <hostloom/unique_fd.h>

namespace loom::af_packet {

struct HostLink {
  uint32_t index = 0;
  std::string name;  // the first of its names; it may have been looked at by another
  uint32_t mtu = 0;
  MacAddress mac;
  bool is_up = false;       // by its administrator
  bool is_running = false;  // and it has a carrier
};

// At most 15 characters that the kernel takes for one.
bool is_interface_name(const std::string& name);

// Every request: kNotFound says that there is no such interface (ENODEV, ENXIO), and nothing else
// does; kIo: the request failed for another reason, and says nothing about the interface.
class HostLinks {
 public:
  // kInvalid: no name, or not Ethernet.
  Result<HostLink> look_at(const std::string& name);
  // What interface `index` is called now.
  Result<std::string> name_of(uint32_t index);
  // kPermission: CAP_NET_ADMIN is missing.
  Result<void> take_up(const std::string& name);
  Result<void> change_mtu(const std::string& name, uint32_t mtu);
  // Of the socket; -1 before the first request.
  int fd() const noexcept { return fd_.get(); }

 private:
  class Request;
  UniqueFd fd_;
};

}  // namespace loom::af_packet
