// What ICMP errors mean for the sender of a datagram, as Linux has it: the errno, and whether the
// error lasts, so that the next call fails of it on a socket with a peer. Those that may pass (RFC
// 1122 section 4.1.3.3) are told only to who wants all (IP_RECVERR).
#pragma once
#include <cerrno>
#include <cstdint>
#include <iterator>

#include <hostloom/wire.h>

namespace loom::udp {

struct IcmpMeaning {
  uint16_t error = 0;  // 0: nothing that is told
  bool is_hard = false;
};

// RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1.
inline IcmpMeaning meaning_of_icmp4(uint8_t type, uint8_t code) noexcept {
  constexpr IcmpMeaning kUnreachable[] = {
      {ENETUNREACH, false},   // network
      {EHOSTUNREACH, false},  // host
      {ENOPROTOOPT, true},    // protocol
      {ECONNREFUSED, true},   // port
      {EMSGSIZE, true},       // fragmentation needed
      {EOPNOTSUPP, false},    // source route failed
      {ENETUNREACH, true},    // network unknown
      {EHOSTDOWN, true},      // host unknown
      {ENONET, true},         // source host isolated
      {ENETUNREACH, true},    // network prohibited
      {EHOSTUNREACH, true},   // host prohibited
      {ENETUNREACH, false},   // network, for this TOS
      {EHOSTUNREACH, false},  // host, for this TOS
      {EHOSTUNREACH, true},   // communication prohibited
      {EHOSTUNREACH, true},   // host precedence violation
      {EHOSTUNREACH, true},   // precedence cutoff in effect
  };
  constexpr uint8_t kReassembly = 1;  // its time is over: the peer's affair
  switch (type) {
    case kIcmp4Unreachable:
      return code < std::size(kUnreachable) ? kUnreachable[code] : IcmpMeaning{};
    case kIcmp4ParameterProblem:
      return {EPROTO, true};
    case kIcmp4TimeExceeded:
      return code == kReassembly ? IcmpMeaning{} : IcmpMeaning{EHOSTUNREACH, false};
    default:
      return {};
  }
}

// RFC 4443 section 3. Of types that nobody knows (section 2.4 b) who wants all errors is told.
inline IcmpMeaning meaning_of_icmp6(uint8_t type, uint8_t code) noexcept {
  constexpr IcmpMeaning kUnreachable[] = {
      {ENETUNREACH, false},   // no route
      {EACCES, true},         // administratively prohibited
      {EHOSTUNREACH, false},  // beyond the scope of the source address
      {EHOSTUNREACH, false},  // address
      {ECONNREFUSED, true},   // port
      {EACCES, true},         // source address failed a policy
      {EACCES, true},         // rejected by a route
  };
  switch (type) {
    case kIcmp6Unreachable:
      return code < std::size(kUnreachable) ? kUnreachable[code] : IcmpMeaning{EPROTO, true};
    case kIcmp6PacketTooBig:
      return {EMSGSIZE, true};
    case kIcmp6TimeExceeded:
      return {EHOSTUNREACH, false};
    case kIcmp6ParameterProblem:
      return {EPROTO, true};
    default:
      return {EPROTO, false};
  }
}

}  // namespace loom::udp
