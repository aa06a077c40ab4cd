#include "ldp/device.h"

#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "ldp/scope.h"
#include "vcl/app_worker.h"

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

namespace loom::ldp {
namespace {

std::shared_ptr<vcl::Attachment> attachment_of(vcl::AppWorker& w) {
  const std::lock_guard lock(w.mutex());
  return w.attachment_locked();
}

}  // namespace

int read_device(int option, const void* value, socklen_t len, Device& out) {
  if (static_cast<int>(len) < 0) return -EINVAL;
  if (option == SO_BINDTODEVICE && len == 0) return 0;
  if (!value) return -EFAULT;
  if (option == SO_BINDTODEVICE) {
    const auto* text = static_cast<const char*>(value);
    out.name.assign(text, strnlen(text, len));
    return 0;
  }
  int number;
  if (len < sizeof number) return -EINVAL;
  std::memcpy(&number, value, sizeof number);
  if (number < 0) return -EINVAL;
  char name[IF_NAMESIZE];
  if (::if_indextoname(static_cast<unsigned>(number), name))
    out.name = name;
  else
    out.number = static_cast<uint32_t>(number);
  return 0;
}

int find_device(vcl::AppWorker& w, bool is_ip4, const Device& wanted, Device& out) {
  const auto attachment = attachment_of(w);
  if (!attachment) return -ECONNRESET;
  out.number = wanted.number;
  if (!wanted.name.empty()) {
    const auto found = attachment->find_interface(is_ip4, wanted.name);
    if (!found && found.error().code == Status::kNotFound) return -ENODEV;
    if (!found) return -vcl::errno_of(static_cast<int32_t>(found.error().code));
    out.number = *found;
  }
  if (out.number > kMostScope) return -ENODEV;
  const auto has = attachment->interface_name(is_ip4, out.number);
  if (!has && has.error().code == Status::kNotFound) return -ENODEV;
  if (!has) return -vcl::errno_of(static_cast<int32_t>(has.error().code));
  out.name = *has;
  return 0;
}

int give_device(int option, const Device& d, void* value, socklen_t* len) {
  if (!value || !len) return -EFAULT;
  if (static_cast<int>(*len) < 0) return -EINVAL;
  if (option != SO_BINDTODEVICE) {
    const unsigned kernels = d.name.empty() ? 0 : ::if_nametoindex(d.name.c_str());
    const uint32_t number = kernels ? kernels : d.number;
    const auto n = std::min<socklen_t>(*len, sizeof number);
    std::memcpy(value, &number, n);
    *len = n;
    return 0;
  }
  if (d.number == 0) {
    *len = 0;
    return 0;
  }
  if (*len < IFNAMSIZ || *len <= d.name.size()) return -EINVAL;
  std::memcpy(value, d.name.c_str(), d.name.size() + 1);
  *len = static_cast<socklen_t>(d.name.size() + 1);
  return 0;
}

bool is_device_option(int level, int name) noexcept {
  return level == SOL_SOCKET && (name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX);
}

int set_device(vcl::Session& s, int option, const void* value, socklen_t len) {
  Device wanted, found;
  if (const int e = read_device(option, value, len, wanted); e != 0) return e;
  if (!wanted.is_any())
    if (const int e = find_device(s.worker(), s.socket_is_ip4, wanted, found); e != 0) return e;
  const bool may_change = s.is_connectionless() || s.state() == vcl::Session::State::kIdle;
  if (!may_change && s.options().interface != found.number) return -ENOPROTOOPT;
  set_scope(s, found.number);
  return 0;
}

int get_device(vcl::Session& s, int option, void* value, socklen_t* len) {
  Device has;
  if (const uint32_t number = s.options().interface; number != 0)
    if (const int e = find_device(s.worker(), s.socket_is_ip4, {number, {}}, has); e != 0) return e;
  return give_device(option, has, value, len);
}

}  // namespace loom::ldp
