// Between the API's types and ours. What a client says is checked here: family and prefix length.
#pragma once
#include <hostloom/address.h>
#include <hostloom/api_server.h>
#include <hostloom/interface.h>

#include "ethernet_types.api.h"
#include "interface_types.api.h"
#include "ip_types.api.h"

namespace loom {

// VPP's return codes, by their meaning there.
constexpr int32_t kApiInvalidSwIfIndex = -2, kApiNoSuchFib = -3, kApiNoSuchEntry = -6,
                  kApiInvalidSwIfIndex2 = -10, kApiIp6NotEnabled = -62,
                  kApiUnexpectedIntfState = -74, kApiIfAlreadyExists = -79, kApiInvalidWorker = -89,
                  kApiIllegalName = -133, kApiNextHopNotInFib = -50, kApiNoPathsInRoute = -52,
                  kApiNextHopNotFoundMp = -53, kApiNoMatchingInterface = -54, kApiInvalidVlan = -55,
                  kApiVlanAlreadyExists = -56, kApiInvalidInterface = -71,
                  kApiInvalidSubSwIfIndex = -98, kApiAddressNotFoundForInterface = -60,
                  kApiInvalidAddressFamily = -97, kApiAddressInUse = -105,
                  kApiAddressFoundForInterface = -114, kApiInvalidQueue = -125,
                  kApiUnsupported = -126, kApiInstanceInUse = -147, kApiNonEthernet = -151,
                  kApiRsrcInUse = -155, kApiFibPathUnsupportedNhProto = -157,
                  kApiLimitExceeded = -162, kApiBusy = -167, kApiInvalidPrefixLength = -171;

constexpr uint32_t kApiNone = ~0u;  // what an index or a number says for "none" or "all"

inline int32_t api_retval(const Result<void>& result) {
  return result ? 0 : api_retval(result.error().code);
}

// The return code; `out` is set when it is 0.
int32_t from_api(const api::Address& a, IpAddress& out);
int32_t from_api(const api::Prefix& p, IpPrefix& out);
// kApiInvalidAddressFamily when it is neither.
int32_t from_api(api::AddressFamily family, bool& is_ip4);
// The address of a union whose family is known.
IpAddress from_api(const api::AddressUnion& un, bool is_ip4);
inline MacAddress from_api(const api::MacAddress& mac) { return {mac}; }

api::AddressUnion union_of(const IpAddress& a);
api::Address to_api(const IpAddress& a);
api::Prefix to_api(const IpPrefix& p);
inline const api::MacAddress& to_api(const MacAddress& mac) { return mac.bytes; }

// Enumerations of flags are enum classes.
template <class E>
constexpr bool has_flag(E flags, E flag) {
  using U = std::underlying_type_t<E>;
  return (static_cast<U>(flags) & static_cast<U>(flag)) != 0;
}

}  // namespace loom
