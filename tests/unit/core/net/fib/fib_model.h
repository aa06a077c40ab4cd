// A route table that is obviously right: every prefix is compared with every address.
#pragma once
#include <map>

#include "net/fib/fib.h"

namespace loom {

inline bool covers(const IpPrefix& p, const IpAddress& a) {
  if (p.address.is_ip4 != a.is_ip4) return false;
  for (unsigned bit = 0; bit < p.length; ++bit) {
    const unsigned shift = 7 - bit % 8;
    if (((p.address.bits.bytes[bit / 8] ^ a.bits.bytes[bit / 8]) >> shift) & 1) return false;
  }
  return true;
}

inline IpPrefix without_host_bits(IpPrefix p) {
  for (unsigned bit = p.length; bit < 128; ++bit)
    p.address.bits.bytes[bit / 8] &= static_cast<uint8_t>(~(0x80 >> (bit % 8)));
  return p;
}

struct FibModel {
  std::map<IpPrefix, uint32_t> routes;

  uint32_t lookup(const IpAddress& a) const {
    uint32_t best = kNoIndex;
    int length = -1;
    for (const auto& [p, value] : routes)
      if (p.length > length && covers(p, a)) {
        best = value;
        length = p.length;
      }
    return best;
  }
};

inline IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }
inline Ip4Address ip4(const char* text) { return IpAddress::parse(text).value().ip4(); }
inline Ip6Address ip6(const char* text) { return IpAddress::parse(text).value().ip6(); }

}  // namespace loom
