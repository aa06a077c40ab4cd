// What ICMP errors mean for the sender of a datagram, as errno: Linux's numbers for what RFC 792,
// RFC 1122 section 3.2.2.1 and RFC 4443 name. 0: nothing that is told.
#pragma once
#include <cerrno>
#include <iterator>

#include <hostloom/net.h>
#include <hostloom/wire.h>

namespace loom::udp {

inline uint16_t errno_of_icmp4(const IcmpErrorNote& n) noexcept {
  // Unreachable, by code: network, host, protocol, port, fragmentation needed, source route failed,
  // network and host unknown, host isolated, network and host prohibited, both for that TOS,
  // filtered, and two of precedence.
  constexpr uint16_t kUnreachable[] = {ENETUNREACH,  EHOSTUNREACH, ENOPROTOOPT,  ECONNREFUSED,
                                       EMSGSIZE,     EOPNOTSUPP,   ENETUNREACH,  EHOSTDOWN,
                                       ENONET,       ENETUNREACH,  EHOSTUNREACH, ENETUNREACH,
                                       EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH};
  if (n.type == kIcmp4Unreachable)
    return n.code < std::size(kUnreachable) ? kUnreachable[n.code] : EHOSTUNREACH;
  if (n.type == kIcmp4ParameterProblem) return EPROTO;
  return n.type == kIcmp4TimeExceeded ? EHOSTUNREACH : 0;
}

inline uint16_t errno_of_icmp6(const IcmpErrorNote& n) noexcept {
  // No route, prohibited, beyond scope, address, port, policy, rejected by route.
  constexpr uint16_t kUnreachable[] = {ENETUNREACH,  EACCES, EHOSTUNREACH, EHOSTUNREACH,
                                       ECONNREFUSED, EACCES, EACCES};
  if (n.type == kIcmp6Unreachable)
    return n.code < std::size(kUnreachable) ? kUnreachable[n.code] : EPROTO;
  if (n.type == kIcmp6PacketTooBig) return EMSGSIZE;
  if (n.type == kIcmp6ParameterProblem) return EPROTO;
  return n.type == kIcmp6TimeExceeded ? EHOSTUNREACH : 0;
}

}  // namespace loom::udp
