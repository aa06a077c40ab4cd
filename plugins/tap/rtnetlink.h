// The little of rtnetlink (RFC 3549) that the host's side of a TAP needs: attributes of a link, its
// addresses, a default route, and news about the link.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include <hostloom/address.h>
#include <hostloom/status.h>

namespace loom::tap {

// A socket of the namespace of the thread that opened it.
class Rtnetlink {
 public:
  Rtnetlink() = default;
  ~Rtnetlink();
  Rtnetlink(const Rtnetlink&) = delete;
  Rtnetlink& operator=(const Rtnetlink&) = delete;

  Result<void> open();

  struct LinkChange {
    std::optional<bool> up = {};
    std::optional<MacAddress> mac = {};
    uint32_t mtu = 0;     // 0 = leave
    uint32_t master = 0;  // bridge's interface index, 0 = leave
  };
  Result<void> change_link(uint32_t index, const LinkChange&);
  // An address that is there already is no error. IPv6 addresses skip duplicate address detection:
  // they are usable at once, and nobody else is on the link.
  Result<void> add_address(uint32_t index, const IpPrefix&);
  Result<void> add_default_route(uint32_t index, const IpAddress& gateway);

 private:
  Result<void> transact(void* message, const std::string& what);
  int fd_ = -1;
  uint32_t sequence_ = 0;
};

// Reads all news of a link monitor. Returns whether link `index` is up, if that is among them.
std::optional<bool> read_link_news(int fd, uint32_t index) noexcept;

}  // namespace loom::tap
