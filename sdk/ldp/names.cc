#include "ldp/names.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace loom::ldp {
namespace {

constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

int to_endpoint(const sockaddr* addr, socklen_t len, bool socket_is_ip4, svm::Endpoint& out) {
  if (!addr || len < sizeof(sa_family_t)) return -EINVAL;
  out = {};
  sa_family_t family;
  std::memcpy(&family, &addr->sa_family, sizeof family);
  if (family == AF_INET && socket_is_ip4) {
    sockaddr_in in;
    if (len < sizeof in) return -EINVAL;
    std::memcpy(&in, addr, sizeof in);
    out.is_ip4 = 1;
    out.port = in.sin_port;
    std::memcpy(out.ip, &in.sin_addr, 4);
    return 0;
  }
  if (family == AF_INET6 && !socket_is_ip4) {
    sockaddr_in6 in{};
    constexpr socklen_t kWithoutScope = 24;  // RFC 2133's, which Linux still takes
    if (len < kWithoutScope) return -EINVAL;
    std::memcpy(&in, addr, std::min<size_t>(len, sizeof in));
    out.port = in.sin6_port;
    if (std::memcmp(&in.sin6_addr, kMapped, sizeof kMapped) == 0) {
      out.is_ip4 = 1;
      std::memcpy(out.ip, in.sin6_addr.s6_addr + sizeof kMapped, 4);
    } else {
      std::memcpy(out.ip, &in.sin6_addr, 16);
    }
    return 0;
  }
  return -EAFNOSUPPORT;
}

int to_destination(const sockaddr* addr, socklen_t len, bool socket_is_ip4, svm::Endpoint& out) {
  sa_family_t family;
  if (!addr || len < sizeof family) return -EINVAL;
  std::memcpy(&family, &addr->sa_family, sizeof family);
  if (socket_is_ip4) {
    sockaddr_in in;
    if (len < sizeof in) return -EINVAL;
    if (family != AF_UNSPEC) return to_endpoint(addr, len, true, out);
    std::memcpy(&in, addr, sizeof in);
    in.sin_family = AF_INET;
    return to_endpoint(reinterpret_cast<const sockaddr*>(&in), sizeof in, true, out);
  }
  if (family == AF_UNSPEC) return 1;
  if (family == AF_INET) return to_endpoint(addr, len, true, out);
  return family == AF_INET6 ? to_endpoint(addr, len, false, out) : -EINVAL;
}

uint32_t scope_of(const void* addr, socklen_t len, const svm::Endpoint& e) noexcept {
  sockaddr_in6 in;
  if (len < sizeof in || !is_of_link(e)) return 0;
  std::memcpy(&in, addr, sizeof in);
  return in.sin6_scope_id;
}

int give_name(const svm::Endpoint& e, bool socket_is_ip4, sockaddr* addr, socklen_t* len,
              uint32_t scope) {
  if (!len || (!addr && *len)) return -EFAULT;
  if (static_cast<int>(*len) < 0) return -EINVAL;
  union {
    sockaddr_in in4;
    sockaddr_in6 in6;
  } name{};
  socklen_t size;
  if (socket_is_ip4) {
    name.in4.sin_family = AF_INET;
    name.in4.sin_port = e.port;
    std::memcpy(&name.in4.sin_addr, e.ip, 4);
    size = sizeof name.in4;
  } else {
    name.in6 = {};
    name.in6.sin6_family = AF_INET6;
    name.in6.sin6_port = e.port;
    if (is_of_link(e)) name.in6.sin6_scope_id = scope;
    uint8_t* to = name.in6.sin6_addr.s6_addr;
    if (e.is_ip4) {
      std::memcpy(to, kMapped, sizeof kMapped);
      std::memcpy(to + sizeof kMapped, e.ip, 4);
    } else {
      std::memcpy(to, e.ip, 16);
    }
    size = sizeof name.in6;
  }
  std::memcpy(addr, &name, std::min(*len, size));
  *len = size;
  return 0;
}

bool is_loopback(const svm::Endpoint& e) noexcept {
  if (e.is_ip4) return e.ip[0] == 127;
  return std::all_of(e.ip, e.ip + 15, [](uint8_t b) { return b == 0; }) && e.ip[15] == 1;
}

bool is_group(const svm::Endpoint& e) noexcept {
  if (!e.is_ip4) return e.ip[0] == 0xff;
  return (e.ip[0] & 0xf0) == 0xe0 ||
         std::all_of(e.ip, e.ip + 4, [](uint8_t b) { return b == 255; });
}

bool is_of_link(const svm::Endpoint& e) noexcept {
  if (e.is_ip4) return false;
  return e.ip[0] == 0xff ? (e.ip[1] & 15) == 1 || (e.ip[1] & 15) == 2
                         : e.ip[0] == 0xfe && (e.ip[1] & 0xc0) == 0x80;
}

bool is_wildcard(const svm::Endpoint& e) noexcept {
  return std::all_of(e.ip, e.ip + (e.is_ip4 ? 4 : 16), [](uint8_t b) { return b == 0; });
}

}  // namespace loom::ldp
