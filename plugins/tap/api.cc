// Module "tapv2": what `create tap`, `delete tap` and `show tap` do, over the binary API. Control
// thread.
#include <hostloom/api_server.h>

#include "taps.h"
#include "tapv2.api.h"

namespace loom::tap {
namespace {

constexpr int32_t kInvalidSwIfIndex = -2;
constexpr uint32_t kUnsupportedFlags = static_cast<uint32_t>(api::TapFlags::kTapApiFlagPersist) |
                                       static_cast<uint32_t>(api::TapFlags::kTapApiFlagTun);

bool has(api::TapFlags flags, api::TapFlags flag) {
  return static_cast<uint32_t>(flags) & static_cast<uint32_t>(flag);
}

Result<MacAddress> mac_of(const api::MacAddress& bytes, const char* what) {
  const MacAddress mac{bytes};
  if (mac.is_multicast() || mac == MacAddress{})
    return error(Status::kInvalid, std::string(what) + " " + mac.str() + " is not a unicast one");
  return mac;
}

template <class Address, class Prefix>
Result<IpPrefix> prefix_of(const Prefix& p, uint8_t most) {
  const IpPrefix prefix{Address{p.address}, p.len};
  if (p.len > most)
    return error(Status::kInvalid,
                 "prefix length of " + prefix.str() + " is above " + std::to_string(most));
  return prefix;
}

// What the request asks for; what cannot be is refused here or by Taps::create.
Result<TapConfig> config_of(const api::TapCreateV3& r) {
  if (static_cast<uint32_t>(r.tap_flags) & kUnsupportedFlags)
    return error(Status::kUnsupported, "TAP flags PERSIST and TUN are not supported");
  TapConfig c;
  c.id = r.id;
  if (r.id != Taps::kAnyId && r.id > kMaxId)
    return error(Status::kInvalid,
                 "TAP id " + std::to_string(r.id) + " is above " + std::to_string(kMaxId));
  c.n_rx_queues = r.num_rx_queues;
  c.n_tx_queues = r.num_tx_queues;
  c.segmentation = has(r.tap_flags, api::TapFlags::kTapApiFlagGso);
  c.attach = has(r.tap_flags, api::TapFlags::kTapApiFlagAttach);
  if (!r.use_random_mac) {
    const auto mac = mac_of(r.mac_address, "mac_address");
    if (!mac) return mac.error();
    c.mac = *mac;
  }
  if (r.host_mac_addr_set) {
    const auto mac = mac_of(r.host_mac_addr, "host_mac_addr");
    if (!mac) return mac.error();
    c.host_mac = *mac;
  }
  if (r.host_mtu_set) c.host_mtu = r.host_mtu_size ? r.host_mtu_size : 1;  // 0 is no MTU
  if (r.host_ip4_prefix_set) {
    const auto p = prefix_of<Ip4Address>(r.host_ip4_prefix, 32);
    if (!p) return p.error();
    c.host_ip4 = *p;
  }
  if (r.host_ip6_prefix_set) {
    const auto p = prefix_of<Ip6Address>(r.host_ip6_prefix, 128);
    if (!p) return p.error();
    c.host_ip6 = *p;
  }
  if (r.host_ip4_gw_set) c.host_ip4_gw = Ip4Address{r.host_ip4_gw};
  if (r.host_ip6_gw_set) c.host_ip6_gw = Ip6Address{r.host_ip6_gw};
  if (r.host_namespace_set) c.host_ns = r.host_namespace;
  if (r.host_if_name_set) c.host_if_name = r.host_if_name;
  if (r.host_bridge_set) c.host_bridge = r.host_bridge;
  return c;
}

Taps& taps(void* context) { return *static_cast<Taps*>(context); }

api::TapCreateV3Reply create(ApiCall&, const api::TapCreateV3& request, void* context) {
  Taps& all = taps(context);
  auto config = config_of(request);
  auto name = config ? all.create(std::move(*config)) : Result<std::string>(config.error());
  if (!name) {
    all.host().log(LogLevel::kWarn, "tap", "tap_create_v3: " + name.error().message);
    return {.retval = api_retval(name.error().code), .sw_if_index = kNoIndex};
  }
  return {.sw_if_index = all.find(*name)->index};
}

api::TapDeleteV2Reply remove(ApiCall&, const api::TapDeleteV2& request, void* context) {
  const auto removed = taps(context).remove(IfIndex{request.sw_if_index});
  if (removed) return {};
  const Status why = removed.error().code;
  return {.retval = why == Status::kNotFound ? kInvalidSwIfIndex : api_retval(why)};
}

void describe(const Device& d, api::SwInterfaceTapV2Details& to) {
  const TapConfig& c = d.config;
  to.sw_if_index = d.index;
  to.id = c.id;
  to.host_mtu_size = c.host_mtu;
  to.host_mac_addr = d.host_mac.bytes;
  if (c.host_ip4) to.host_ip4_prefix = {c.host_ip4->address.ip4().bytes, c.host_ip4->length};
  if (c.host_ip6) to.host_ip6_prefix = {c.host_ip6->address.ip6().bytes, c.host_ip6->length};
  uint32_t flags = static_cast<uint32_t>(api::TapFlags::kTapApiFlagCsumOffload);
  if (c.segmentation) flags |= static_cast<uint32_t>(api::TapFlags::kTapApiFlagGso);
  if (c.attach) flags |= static_cast<uint32_t>(api::TapFlags::kTapApiFlagAttach);
  to.tap_flags = static_cast<api::TapFlags>(flags);
  to.dev_name = d.name;
  to.host_if_name = d.host_name;
  to.host_namespace = c.host_ns;
  to.host_bridge = c.host_bridge;
}

// The cursor is an id: TAPs may come and go meanwhile.
ApiStep next(const api::SwInterfaceTapV2Dump& request, uint64_t& cursor,
             api::SwInterfaceTapV2Details& details, void* context) {
  const auto& all = taps(context).all();
  const auto at = all.lower_bound(static_cast<uint32_t>(cursor));
  if (at == all.end()) return ApiStep::kEnd;
  cursor = uint64_t{at->first} + 1;
  if (request.sw_if_index != kNoIndex && request.sw_if_index != at->second->index)
    return ApiStep::kSkip;
  describe(*at->second, details);
  return ApiStep::kItem;
}

}  // namespace

Result<void> add_api(Host& host, Taps& t) {
  auto api = host.api();
  auto done = api.module(api::kTapv2Module);
  if (done) done = api.handle<api::TapCreateV3, api::TapCreateV3Reply>(create, &t);
  if (done) done = api.handle<api::TapDeleteV2, api::TapDeleteV2Reply>(remove, &t);
  if (done) done = api.dump<api::SwInterfaceTapV2Dump, api::SwInterfaceTapV2Details>(next, &t);
  return done;
}

}  // namespace loom::tap
