#include "ldp/group_options.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>

#include "ldp/group_filter.h"
#include "ldp/names.h"
#include "ldp/scope.h"
#include "vcl/app_worker.h"

#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif

namespace loom::ldp {
namespace {

using vcl::Session;
using Options = svm::SocketOptions;

template <class T>
bool read(const void* value, socklen_t len, T& out) noexcept {
  if (len < sizeof out) return false;
  std::memcpy(&out, value, sizeof out);
  return true;
}

svm::Endpoint end4(const in_addr& a) noexcept {
  svm::Endpoint e{};
  e.is_ip4 = 1;
  std::memcpy(e.ip, &a, 4);
  return e;
}
svm::Endpoint end6(const in6_addr& a) noexcept {
  svm::Endpoint e{};
  std::memcpy(e.ip, &a, 16);
  return e;
}
// Of a group_req: a sockaddr of the level's family.
bool end_of(const sockaddr_storage& a, int level, svm::Endpoint& out) noexcept {
  const sa_family_t family = level == IPPROTO_IP ? AF_INET : AF_INET6;
  if (a.ss_family != family) return false;
  out = family == AF_INET ? end4(reinterpret_cast<const sockaddr_in&>(a).sin_addr)
                          : end6(reinterpret_cast<const sockaddr_in6&>(a).sin6_addr);
  return true;
}

std::optional<GroupOp> op_of(int level, int name) noexcept {
  switch (name) {
    case MCAST_JOIN_GROUP:
      return GroupOp::kJoin;
    case MCAST_LEAVE_GROUP:
      return GroupOp::kLeave;
    case MCAST_JOIN_SOURCE_GROUP:
      return GroupOp::kJoinSource;
    case MCAST_LEAVE_SOURCE_GROUP:
      return GroupOp::kLeaveSource;
    case MCAST_BLOCK_SOURCE:
      return GroupOp::kBlockSource;
    case MCAST_UNBLOCK_SOURCE:
      return GroupOp::kUnblockSource;
    default:
      break;
  }
  if (level == IPPROTO_IPV6) {
    if (name == IPV6_JOIN_GROUP) return GroupOp::kJoin;
    if (name == IPV6_LEAVE_GROUP) return GroupOp::kLeave;
    return std::nullopt;
  }
  switch (name) {
    case IP_ADD_MEMBERSHIP:
      return GroupOp::kJoin;
    case IP_DROP_MEMBERSHIP:
      return GroupOp::kLeave;
    case IP_ADD_SOURCE_MEMBERSHIP:
      return GroupOp::kJoinSource;
    case IP_DROP_SOURCE_MEMBERSHIP:
      return GroupOp::kLeaveSource;
    case IP_BLOCK_SOURCE:
      return GroupOp::kBlockSource;
    case IP_UNBLOCK_SOURCE:
      return GroupOp::kUnblockSource;
    default:
      return std::nullopt;
  }
}

// The structure that goes with the option. False: too short, or of another family.
bool read_request(int level, int name, const void* value, socklen_t len, svm::GroupEvent& g) {
  const auto op = static_cast<GroupOp>(g.op);
  const bool has_source = op != GroupOp::kJoin && op != GroupOp::kLeave;
  g.address.is_ip4 = g.source.is_ip4 = level == IPPROTO_IP;
  if (name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP) {
    if (has_source) {
      group_source_req r;
      if (!read(value, len, r)) return false;
      g.interface = r.gsr_interface;
      return end_of(r.gsr_group, level, g.group) && end_of(r.gsr_source, level, g.source);
    }
    group_req r;
    if (!read(value, len, r)) return false;
    g.interface = r.gr_interface;
    return end_of(r.gr_group, level, g.group);
  }
  if (level == IPPROTO_IPV6) {
    ipv6_mreq r;
    if (!read(value, len, r)) return false;
    g.group = end6(r.ipv6mr_multiaddr);
    g.interface = r.ipv6mr_interface;
    return true;
  }
  if (has_source) {
    ip_mreq_source r;
    if (!read(value, len, r)) return false;
    g.group = end4(r.imr_multiaddr);
    g.address = end4(r.imr_interface);
    g.source = end4(r.imr_sourceaddr);
    return true;
  }
  ip_mreqn r{};
  if (len < sizeof(ip_mreq)) return false;
  std::memcpy(&r, value, std::min<size_t>(len, sizeof r));
  if (len < sizeof r) r.imr_ifindex = 0;
  g.group = end4(r.imr_multiaddr);
  g.address = end4(r.imr_address);
  g.interface = static_cast<uint32_t>(r.imr_ifindex);
  return true;
}

// By which groups are sent to.
struct GroupInterface {
  uint32_t index = 0;
  in_addr address{};  // IPv4's
  bool is_none() const noexcept { return index == 0 && address.s_addr == 0; }
};
// Of IPv4 an address, or a structure with one or an index; zero takes it back.
bool read_interface(int level, const void* value, socklen_t len, GroupInterface& out) {
  if (level == IPPROTO_IPV6) return read(value, len, out.index);
  ip_mreqn r{};
  if (len >= sizeof(ip_mreq)) {
    std::memcpy(&r, value, std::min<size_t>(len, sizeof r));
    if (len < sizeof r) r.imr_ifindex = 0;
  } else if (!read(value, len, r.imr_address)) {
    return false;
  }
  out = {static_cast<uint32_t>(r.imr_ifindex), r.imr_address};
  return true;
}

// Asks the daemon, which knows what an address means: `by.index` is that one's, or 0 still, for a
// loopback interface's. 0 or a negative errno.
int find_interface(vcl::AppWorker& w, int level, GroupInterface& by) {
  std::shared_ptr<vcl::Attachment> attachment;
  {
    const std::lock_guard lock(w.mutex());
    attachment = w.attachment_locked();
  }
  if (!attachment) return -ECONNRESET;
  uint8_t ip4[4];
  std::memcpy(ip4, &by.address, sizeof ip4);
  const auto found = attachment->find_interface(level == IPPROTO_IP, by.index, ip4);
  if (found) {
    by.index = *found;
    return 0;
  }
  if (found.error().code != Status::kNotFound)
    return -vcl::errno_of(static_cast<int32_t>(found.error().code));
  return level == IPPROTO_IP ? -EADDRNOTAVAIL : -ENODEV;
}

// What a socket was told before it became Hostloom's stays as it is: it was answered then.
int set_interface(Session& s, int level, const void* value, socklen_t len) {
  GroupInterface by;
  if (!read_interface(level, value, len, by)) return -EINVAL;
  if (!by.is_none() && s.state() != Session::State::kIdle)
    if (const int e = find_interface(s.worker(), level, by); e != 0) return e;
  if (!may_use(s, by.index)) return -EINVAL;
  const auto index = static_cast<uint16_t>(std::min(by.index, kMostScope));  // nobody has that one
  s.change_options([&](Options& o) {
    if (level == IPPROTO_IPV6) {
      o.ip6_group_if = index;
    } else {
      o.ip4_group_if = index;
      std::memcpy(o.ip4_group_source, &by.address, sizeof o.ip4_group_source);
    }
  });
  return 0;
}

int set_switch(Session& s, uint8_t off, int number) {
  if (number < 0 || number > 1) return -EINVAL;
  s.change_options([&](Options& o) {
    o.group_off = static_cast<uint8_t>(number ? o.group_off & ~off : o.group_off | off);
  });
  return 0;
}

// 0: none of them.
uint8_t switch_of(int level, int name) noexcept {
  if (level == IPPROTO_IP) {
    if (name == IP_MULTICAST_LOOP) return svm::kIp4GroupLoopOff;
    return name == IP_MULTICAST_ALL ? svm::kIp4GroupAllOff : 0;
  }
  if (name == IPV6_MULTICAST_LOOP) return svm::kIp6GroupLoopOff;
  return name == IPV6_MULTICAST_ALL ? svm::kIp6GroupAllOff : 0;
}

bool is_hops(int level, int name) noexcept {
  return name == (level == IPPROTO_IP ? IP_MULTICAST_TTL : IPV6_MULTICAST_HOPS);
}

}  // namespace

bool is_group_interface(int level, int name) noexcept {
  return level == IPPROTO_IP ? name == IP_MULTICAST_IF
                             : level == IPPROTO_IPV6 && name == IPV6_MULTICAST_IF;
}

int find_group_interface(vcl::AppWorker& w, int level, const void* value, socklen_t len) {
  GroupInterface by;
  return read_interface(level, value, len, by) ? find_interface(w, level, by) : -EINVAL;
}

bool is_membership(int level, int name) noexcept {
  return (level == IPPROTO_IP || level == IPPROTO_IPV6) &&
         (op_of(level, name).has_value() || is_group_filter(level, name));
}

bool is_group_option(int level, int name) noexcept {
  if (level != IPPROTO_IP && level != IPPROTO_IPV6) return false;
  return op_of(level, name) || switch_of(level, name) != 0 || is_hops(level, name) ||
         is_group_interface(level, name);
}

int set_group_option(Session& s, int level, int name, const void* value, socklen_t len) {
  if (const auto op = op_of(level, name)) {
    svm::GroupEvent g{};
    g.op = static_cast<uint8_t>(*op);
    if (!read_request(level, name, value, len, g)) return -EINVAL;
    if (!is_group(g.group)) return -EINVAL;
    return s.ask_group(g);
  }
  if (is_group_interface(level, name)) return set_interface(s, level, value, len);
  int number = 0;
  if (level == IPPROTO_IP && len >= 1 && len < sizeof number)
    number = *static_cast<const uint8_t*>(value);
  else if (!read(value, len, number))
    return -EINVAL;
  if (const uint8_t off = switch_of(level, name)) return set_switch(s, off, number);
  if (number < -1 || number > 255) return -EINVAL;
  (level == IPPROTO_IP ? s.ip4_group_hops : s.ip6_group_hops)
      .store(static_cast<uint8_t>(number == -1 ? 1 : number));
  return 0;
}

int get_group_option(Session& s, int level, int name, std::byte (&out)[4]) {
  const auto put = [&](uint32_t number) {
    std::memcpy(out, &number, sizeof number);
    return 4;
  };
  const Options o = s.options();
  if (const uint8_t off = switch_of(level, name)) return put(!(o.group_off & off));
  if (is_hops(level, name))
    return put((level == IPPROTO_IP ? s.ip4_group_hops : s.ip6_group_hops).load());
  if (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_IF) return put(o.ip6_group_if);
  if (level == IPPROTO_IP && name == IP_MULTICAST_IF) {
    std::memcpy(out, o.ip4_group_source, sizeof out);
    return 4;
  }
  return -ENOPROTOOPT;
}

}  // namespace loom::ldp
