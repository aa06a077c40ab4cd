#include "ldp/ancillary.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ldp/arrival.h"

namespace loom::ldp {
namespace {

using vcl::Session;

enum Bit : uint16_t {
  kIpPktinfo = 1u << 0,
  kIpTtl = 1u << 1,
  kIpTos = 1u << 2,
  kIp6Pktinfo = 1u << 3,
  kIp6Hops = 1u << 4,
  kIp6Class = 1u << 5,
  kUdpGro = 1u << 6,
  kIpDestination = 1u << 7,  // IP_RECVORIGDSTADDR
  kIp6Destination = 1u << 8,
  kTxTime = 1u << 9,  // SO_TXTIME: what is said of it is taken, and sent at once
};

constexpr int kIp6RecvDestination = 74;  // IPV6_RECVORIGDSTADDR, and its control message

// 0: none of them.
uint16_t bit_of(int level, int name) noexcept {
  if (level == IPPROTO_IP) {
    if (name == IP_PKTINFO) return kIpPktinfo;
    if (name == IP_RECVTTL) return kIpTtl;
    if (name == IP_RECVTOS) return kIpTos;
    if (name == IP_RECVORIGDSTADDR) return kIpDestination;
  } else if (level == IPPROTO_IPV6) {
    if (name == IPV6_RECVPKTINFO) return kIp6Pktinfo;
    if (name == IPV6_RECVHOPLIMIT) return kIp6Hops;
    if (name == IPV6_RECVTCLASS) return kIp6Class;
    if (name == kIp6RecvDestination) return kIp6Destination;
  } else if (level == SOL_UDP) {
    if (name == UDP_GRO) return kUdpGro;
  } else if (level == SOL_SOCKET) {
    if (name == SO_TXTIME) return kTxTime;
  }
  return 0;
}

constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

in6_addr ip6_of(const uint8_t (&ip)[16], bool is_ip4) noexcept {
  in6_addr a;
  auto* const out = reinterpret_cast<uint8_t*>(&a);
  std::memcpy(out, kMapped, sizeof kMapped);
  std::memcpy(is_ip4 ? out + sizeof kMapped : out, ip, is_ip4 ? 4 : 16);
  return a;
}

// What control messages say of a packet, a datagram's or an error's.
struct Packet {
  const uint8_t (&to)[16];
  bool is_ip4;
  uint32_t interface;  // Linux's number
  uint8_t tos, ttl;
};

void give_ip6_pktinfo(Control& control, const Packet& p) noexcept {
  in6_pktinfo info{};
  info.ipi6_ifindex = p.interface;
  info.ipi6_addr = ip6_of(p.to, p.is_ip4);
  control.put(IPPROTO_IPV6, IPV6_PKTINFO, info);
}

// Those that were asked for, in Linux's order. answers_from: ipi_spec_dst, four bytes.
void give_packet(uint16_t wanted, const Packet& p, const uint8_t* answers_from,
                 Control& control) noexcept {
  if (wanted & kIp6Pktinfo) give_ip6_pktinfo(control, p);
  if (p.is_ip4) {
    if (wanted & kIpPktinfo) {
      in_pktinfo info{};
      info.ipi_ifindex = static_cast<int>(p.interface);
      std::memcpy(&info.ipi_spec_dst, answers_from, 4);
      std::memcpy(&info.ipi_addr, p.to, 4);
      control.put(IPPROTO_IP, IP_PKTINFO, info);
    }
    if (wanted & kIpTtl) control.put(IPPROTO_IP, IP_TTL, int{p.ttl});
    if (wanted & kIpTos) control.put(IPPROTO_IP, IP_TOS, p.tos);
    return;
  }
  if (wanted & kIp6Hops) control.put(IPPROTO_IPV6, IPV6_HOPLIMIT, int{p.ttl});
  if (wanted & kIp6Class) control.put(IPPROTO_IPV6, IPV6_TCLASS, int{p.tos});
}

// By that interface, of Linux's numbers; 0: by any. Of two that differ one is wrong, as on Linux.
int take_interface(int64_t number, vcl::DatagramOut& out) noexcept {
  if (number == 0) return 0;
  if (number < 0) return -ENODEV;
  if (out.interface != 0 && out.interface != number) return -EINVAL;
  out.interface = static_cast<uint32_t>(number);
  return 0;
}

// As Linux's __sock_cmsg_send(); none of them changes anything here.
int check_socket_message(int type, size_t size, int number, bool has_txtime) noexcept {
  constexpr int kRecords = SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_TX_SOFTWARE |
                           SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_ACK;
  constexpr int kCredentials = 2, kNewTimestamping = 65;
  switch (type) {
    case SCM_RIGHTS:
    case kCredentials:
      return 0;
    case SO_MARK:
    case SO_PRIORITY:
      return size == sizeof number ? 0 : -EINVAL;
    case SO_TIMESTAMPING:
    case kNewTimestamping:
      return size == sizeof number && !(number & ~kRecords) ? 0 : -EINVAL;
    case SCM_TXTIME:
      return has_txtime && size == sizeof(uint64_t) ? 0 : -EINVAL;
    default:
      return -EINVAL;
  }
}

// One control message's value. Negative errno: it makes no sense.
int take_one(int level, int type, const std::byte* value, size_t size, vcl::DatagramOut& out,
             svm::Endpoint& source, bool has_txtime) {
  int number = 0;
  if (size >= sizeof number)
    std::memcpy(&number, value, sizeof number);
  else if (size == 1)
    number = static_cast<uint8_t>(*value);
  const bool is_byte = number >= 0 && number <= 255;
  // Of IPv6 -1 is the socket's own (RFC 3542 sections 6.3 and 6.5).
  const bool is_default = level == IPPROTO_IPV6 && size >= sizeof number && number == -1;
  if (level == SOL_UDP && type == UDP_SEGMENT) {
    if (size != sizeof out.gso_size) return -EINVAL;
    std::memcpy(&out.gso_size, value, size);
    return 0;
  }
  if (level == IPPROTO_IP && type == IP_PKTINFO) {
    in_pktinfo info;
    if (size < sizeof info) return -EINVAL;
    std::memcpy(&info, value, sizeof info);
    if (const int e = take_interface(info.ipi_ifindex, out); e != 0) return e;
    if (info.ipi_spec_dst.s_addr == 0) return 0;
    source.is_ip4 = 1;
    std::memcpy(source.ip, &info.ipi_spec_dst, 4);
    out.source = &source;
    return 0;
  }
  if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
    in6_pktinfo info;
    if (size < sizeof info) return -EINVAL;
    std::memcpy(&info, value, sizeof info);
    if (const int e = take_interface(info.ipi6_ifindex, out); e != 0) return e;
    const auto* ip = reinterpret_cast<const uint8_t*>(&info.ipi6_addr);
    if (std::all_of(ip, ip + 16, [](uint8_t b) { return b == 0; })) return 0;
    source.is_ip4 = std::memcmp(ip, kMapped, sizeof kMapped) == 0;
    std::memcpy(source.ip, source.is_ip4 ? ip + sizeof kMapped : ip, source.is_ip4 ? 4 : 16);
    out.source = &source;
    return 0;
  }
  if ((level == IPPROTO_IP && type == IP_TTL) || (level == IPPROTO_IPV6 && type == IPV6_HOPLIMIT)) {
    if (is_default) return 0;
    if (size < sizeof number || !is_byte || (number == 0 && level == IPPROTO_IP)) return -EINVAL;
    out.ttl = number == 0 ? -1 : number;
    return 0;
  }
  if ((level == IPPROTO_IP && type == IP_TOS) || (level == IPPROTO_IPV6 && type == IPV6_TCLASS)) {
    if (is_default) return 0;
    if ((size != 1 && size < sizeof number) || !is_byte) return -EINVAL;
    out.tos = number;
    return 0;
  }
  if (level == IPPROTO_IPV6 && type == IPV6_DONTFRAG) {
    if (size != sizeof number || number < 0 || number > 1) return -EINVAL;
    out.whole = number;
    return 0;
  }
  if (level == SOL_SOCKET) return check_socket_message(type, size, number, has_txtime);
  // What is not said to IP or UDP nobody looks at.
  return level == IPPROTO_IP || level == IPPROTO_IPV6 || level == SOL_UDP ? -EINVAL : 0;
}

}  // namespace

bool set_ancillary(Session& s, int level, int name, int number) {
  const uint16_t bit = bit_of(level, name);
  if (bit == 0) return false;
  if (bit == kUdpGro) s.change_options([&](svm::SocketOptions& o) { o.gro = number != 0; });
  if (bit == kIpPktinfo)
    s.change_options([&](svm::SocketOptions& o) { o.answers_from = number != 0; });
  if (number != 0)
    s.ancillary.fetch_or(bit);
  else
    s.ancillary.fetch_and(static_cast<uint16_t>(~bit));
  return true;
}

bool get_ancillary(Session& s, int level, int name, int& number) {
  const uint16_t bit = bit_of(level, name);
  number = (s.ancillary.load() & bit) != 0;
  return bit != 0;
}

int take_control(const msghdr& m, vcl::DatagramOut& out, svm::Endpoint& source,
                 uint16_t ancillary) {
  const auto* bytes = static_cast<const std::byte*>(m.msg_control);
  size_t at = 0;
  cmsghdr c;
  while (bytes && m.msg_controllen >= at + sizeof c) {
    std::memcpy(&c, bytes + at, sizeof c);
    if (c.cmsg_len < sizeof c || c.cmsg_len > m.msg_controllen - at) return -EINVAL;
    if (const int e = take_one(c.cmsg_level, c.cmsg_type, bytes + at + CMSG_LEN(0),
                               c.cmsg_len - CMSG_LEN(0), out, source, ancillary & kTxTime);
        e != 0)
      return e;
    at += CMSG_ALIGN(c.cmsg_len);
  }
  return 0;
}

void give_error(Session& s, const vcl::DatagramIn& in, const svm::ErrorPacket& by, msghdr& m) {
  constexpr uint8_t kNothing[4] = {};
  const svm::DatagramHeader& h = in.header;
  sock_extended_err e{};
  e.ee_errno = h.error;
  e.ee_origin = static_cast<uint8_t>(h.gso_size);
  e.ee_type = h.tos;
  e.ee_code = h.ttl;
  e.ee_info = h.interface;
  const bool is_known = e.ee_origin != SO_EE_ORIGIN_LOCAL;
  const uint16_t wanted = s.ancillary.load(std::memory_order_relaxed);
  Control control(m);
  give_arrival(s, h, control);
  if (is_known && wanted != 0) {
    const Packet p{by.to, h.is_ip4 != 0, by.interface, by.tos, by.ttl};
    give_packet(wanted, p, kNothing, control);  // Linux asks no route for an error
  }
  if (s.socket_is_ip4) {
    struct {
      sock_extended_err error;
      sockaddr_in offender;
    } all{e, {}};
    if (is_known) {
      all.offender.sin_family = AF_INET;
      std::memcpy(&all.offender.sin_addr, h.local_ip, 4);
    }
    control.put(IPPROTO_IP, IP_RECVERR, all);
    return;
  }
  struct {
    sock_extended_err error;
    sockaddr_in6 offender;
  } all{e, {}};
  if (is_known) {
    all.offender.sin6_family = AF_INET6;
    all.offender.sin6_addr = ip6_of(h.local_ip, h.is_ip4);
    if (IN6_IS_ADDR_LINKLOCAL(&all.offender.sin6_addr)) all.offender.sin6_scope_id = by.interface;
  }
  control.put(IPPROTO_IPV6, IPV6_RECVERR, all);
}

void give_control(Session& s, const vcl::DatagramIn& in, msghdr& m) {
  const uint16_t wanted = s.ancillary.load(std::memory_order_relaxed);
  const svm::DatagramHeader& h = in.header;
  Control control(m);
  give_arrival(s, h, control);
  if (wanted == 0) [[likely]]
    return;
  if ((wanted & kUdpGro) && h.gso_size != 0) control.put(SOL_UDP, UDP_GRO, int{h.gso_size});
  const Packet p{h.local_ip, h.is_ip4 != 0, h.interface + 1, h.tos, h.ttl};
  // What came for this host alone is answered from where it went.
  give_packet(wanted, p, h.flags & svm::kDatagramToGroup ? h.local_ip + 4 : h.local_ip, control);
  if (h.is_ip4) {
    if (wanted & kIpDestination) {
      sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_port = h.local_port;
      std::memcpy(&to.sin_addr, h.local_ip, 4);
      control.put(IPPROTO_IP, IP_ORIGDSTADDR, to);
    }
    return;
  }
  if (wanted & kIp6Destination) {
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    to.sin6_port = h.local_port;
    std::memcpy(&to.sin6_addr, h.local_ip, 16);
    if (IN6_IS_ADDR_LINKLOCAL(&to.sin6_addr)) to.sin6_scope_id = h.interface + 1;
    control.put(IPPROTO_IPV6, kIp6RecvDestination, to);
  }
}

}  // namespace loom::ldp
