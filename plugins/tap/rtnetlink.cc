#include "rtnetlink.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace loom::tap {
namespace {

// One request under construction: header, the family's fixed part, attributes.
template <class Body>
struct Request {
  nlmsghdr header{};
  Body body{};
  char attributes[256];

  Request(uint16_t type, uint16_t flags) {
    header.nlmsg_len = NLMSG_LENGTH(sizeof(Body));
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  }
  void add(uint16_t type, const void* bytes, uint16_t size) {
    const uint32_t at = NLMSG_ALIGN(header.nlmsg_len);
    LOOM_CHECK(at + RTA_SPACE(size) <= sizeof(*this));
    auto* a = reinterpret_cast<rtattr*>(reinterpret_cast<char*>(this) + at);
    a->rta_type = type;
    a->rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
    std::memcpy(RTA_DATA(a), bytes, size);
    header.nlmsg_len = at + RTA_LENGTH(size);
  }
  void add(uint16_t type, uint32_t value) { add(type, &value, sizeof value); }
};

uint16_t address_size(const IpAddress& a) { return a.is_ip4 ? 4 : 16; }

}  // namespace

Rtnetlink::~Rtnetlink() {
  if (fd_ >= 0) close(fd_);
}

Result<void> Rtnetlink::open() {
  fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd_ < 0) return error(Status::kIo, std::string("rtnetlink socket: ") + std::strerror(errno));
  return {};
}

// Sends one request and waits for its acknowledgement, which the kernel gives before send returns.
Result<void> Rtnetlink::transact(void* message, const std::string& what) {
  auto* header = static_cast<nlmsghdr*>(message);
  header->nlmsg_seq = ++sequence_;
  if (send(fd_, header, header->nlmsg_len, 0) < 0)
    return error(Status::kIo, what + ": " + std::strerror(errno));
  alignas(nlmsghdr) char reply[1024];
  const ssize_t got = recv(fd_, reply, sizeof reply, 0);
  const auto* answer = reinterpret_cast<const nlmsghdr*>(reply);
  if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))) ||
      answer->nlmsg_type != NLMSG_ERROR || answer->nlmsg_seq != sequence_)
    return error(Status::kIo, what + ": rtnetlink gave no acknowledgement");
  const int err = -static_cast<const nlmsgerr*>(NLMSG_DATA(answer))->error;
  if (err == 0) return {};
  if (err == EPERM) return error(Status::kPermission, what + ": CAP_NET_ADMIN is missing");
  return error(err == EEXIST ? Status::kExists : Status::kIo, what + ": " + std::strerror(err));
}

Result<void> Rtnetlink::change_link(uint32_t index, const LinkChange& change) {
  Request<ifinfomsg> r(RTM_NEWLINK, 0);
  r.body.ifi_family = AF_UNSPEC;
  r.body.ifi_index = static_cast<int>(index);
  std::string what = "host side";
  if (change.up) {
    r.body.ifi_change = IFF_UP;
    r.body.ifi_flags = *change.up ? IFF_UP : 0;
    what += *change.up ? " up" : " down";
  }
  if (change.mac) {
    r.add(IFLA_ADDRESS, change.mac->bytes.data(), 6);
    what += " address " + change.mac->str();
  }
  if (change.mtu) {
    r.add(IFLA_MTU, change.mtu);
    what += " mtu " + std::to_string(change.mtu);
  }
  if (change.master) {
    r.add(IFLA_MASTER, change.master);
    what += " in its bridge";
  }
  return transact(&r, what);
}

Result<void> Rtnetlink::add_address(uint32_t index, const IpPrefix& prefix) {
  Request<ifaddrmsg> r(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  r.body.ifa_family = prefix.address.is_ip4 ? AF_INET : AF_INET6;
  r.body.ifa_prefixlen = prefix.length;
  r.body.ifa_index = index;
  const uint16_t size = address_size(prefix.address);
  r.add(IFA_LOCAL, prefix.address.bits.bytes.data(), size);
  r.add(IFA_ADDRESS, prefix.address.bits.bytes.data(), size);
  if (prefix.address.is_ip4) {
    if (prefix.length < 31) {  // RFC 3021: a /31 has no broadcast address
      const uint32_t hosts = prefix.length ? (1u << (32 - prefix.length)) - 1 : ~0u;
      const Ip4Address all = Ip4Address::from_host(prefix.address.ip4().host() | hosts);
      r.add(IFA_BROADCAST, all.bytes.data(), 4);
    }
  } else {
    r.add(IFA_FLAGS, IFA_F_NODAD);
  }
  auto result = transact(&r, "host side address " + prefix.str());
  if (!result && result.error().code == Status::kExists) return {};
  return result;
}

Result<void> Rtnetlink::add_default_route(uint32_t index, const IpAddress& gateway) {
  Request<rtmsg> r(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  r.body.rtm_family = gateway.is_ip4 ? AF_INET : AF_INET6;
  r.body.rtm_table = RT_TABLE_MAIN;
  r.body.rtm_protocol = RTPROT_STATIC;
  r.body.rtm_scope = RT_SCOPE_UNIVERSE;
  r.body.rtm_type = RTN_UNICAST;
  r.add(RTA_GATEWAY, gateway.bits.bytes.data(), address_size(gateway));
  r.add(RTA_OIF, index);
  return transact(&r, "host side default route via " + gateway.str());
}

std::optional<bool> read_link_news(int fd, uint32_t index) noexcept {
  std::optional<bool> up;
  alignas(nlmsghdr) char bytes[8192];
  for (;;) {
    const ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == ENOBUFS) continue;  // news were lost; what follows is newer
    if (got <= 0) return up;
    auto left = static_cast<uint32_t>(got);
    for (auto* m = reinterpret_cast<nlmsghdr*>(bytes); NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
      if (m->nlmsg_type != RTM_NEWLINK || m->nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) continue;
      const auto* link = static_cast<const ifinfomsg*>(NLMSG_DATA(m));
      if (link->ifi_index == static_cast<int>(index)) up = link->ifi_flags & IFF_UP;
    }
  }
}

}  // namespace loom::tap
