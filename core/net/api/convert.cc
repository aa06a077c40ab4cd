#include "net/api/convert.h"

namespace loom {

int32_t from_api(api::AddressFamily family, bool& is_ip4) {
  if (family != api::AddressFamily::kAddressIp4 && family != api::AddressFamily::kAddressIp6)
    return kApiInvalidAddressFamily;
  is_ip4 = family == api::AddressFamily::kAddressIp4;
  return 0;
}

IpAddress from_api(const api::AddressUnion& un, bool is_ip4) {
  return is_ip4 ? IpAddress(Ip4Address{un.ip4()}) : IpAddress(Ip6Address{un.ip6()});
}

int32_t from_api(const api::Address& a, IpAddress& out) {
  bool is_ip4 = false;
  if (const int32_t bad = from_api(a.af, is_ip4)) return bad;
  out = from_api(a.un, is_ip4);
  return 0;
}

int32_t from_api(const api::Prefix& p, IpPrefix& out) {
  IpAddress address;
  if (const int32_t bad = from_api(p.address, address)) return bad;
  if (p.len > (address.is_ip4 ? 32 : 128)) return kApiInvalidPrefixLength;
  out = {address, p.len};
  return 0;
}

api::AddressUnion union_of(const IpAddress& a) {
  api::AddressUnion un;
  if (a.is_ip4)
    un.set_ip4(a.ip4().bytes);
  else
    un.set_ip6(a.ip6().bytes);
  return un;
}

api::Address to_api(const IpAddress& a) {
  return {a.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6,
          union_of(a)};
}

api::Prefix to_api(const IpPrefix& p) { return {to_api(p.address), p.length}; }

}  // namespace loom
