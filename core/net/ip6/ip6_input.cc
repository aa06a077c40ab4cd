// Node "ip6-input": checks an IPv6 header as RFC 8200 section 3 and RFC 4291 section 2 say.
//   in    packets from ethernet-input or a driver, data at the IP header, rx_if set
//   out   the ip6-unicast features, then ip6-lookup | drop; l3_offset and fib_index set, Ethernet
//         padding cut off
// Extension headers are ip6-local's: a router does not look at them (RFC 8200 section 4).
#include <hostloom/wire.h>

#include "net/ip/node_loop.h"
#include "net/ip/trim.h"
#include "net/ip6/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToLookup };
enum Counter : uint16_t {
  kOk,
  kNoInterface,
  kInterfaceDown,
  kNotEnabled,
  kTooShort,
  kBadVersion,
  kPayloadLengthOverrun,
  kHopLimitZero,
  kMartianSource,
  kMartianDestination,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"ok", Severity::kInfo, "valid packets"},
    {"no-interface", Severity::kError, "the interface is gone"},
    {"interface-down", Severity::kWarn, "the interface is down"},
    {"not-enabled", Severity::kWarn, "IPv6 is disabled on the interface"},
    {"too-short", Severity::kError, "fewer than 40 bytes"},
    {"bad-version", Severity::kError, "the version is not 6"},
    {"payload-length-overrun", Severity::kError, "payload length beyond the packet"},
    {"hop-limit-zero", Severity::kError, "hop limit is 0"},
    {"martian-source", Severity::kError, "source is multicast, loopback or IPv4-mapped"},
    {"martian-destination", Severity::kError,
     "destination is unspecified, loopback, IPv4-mapped or of interface-local scope"},
};

// ::ffff:0:0/96 never appears on a wire (RFC 4291 section 2.5.5.2, RFC 6890).
bool is_mapped(const Ip6Address& a) noexcept {
  constexpr std::array<uint8_t, 12> kPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(a.bytes.data(), kPrefix.data(), kPrefix.size()) == 0;
}

Verdict<uint16_t, Counter> check(const NodeContext& at, Buffer& b) noexcept {
  const Interface* f = at.net.interfaces.find(b.rx_if);
  if (!f) [[unlikely]]
    return {kToDrop, kNoInterface};
  if (!f->is_up()) [[unlikely]]
    return {kToDrop, kInterfaceDown};
  if (f->is_ip6_off.load(std::memory_order_relaxed)) [[unlikely]]
    return {kToDrop, kNotEnabled};
  const auto* ip = b.peek<Ip6Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  if (ip->version() != 6) [[unlikely]]
    return {kToDrop, kBadVersion};
  const uint32_t total = sizeof(Ip6Header) + ip->payload_length;
  if (total > b.length()) [[unlikely]]
    return {kToDrop, kPayloadLengthOverrun};
  if (ip->hop_limit == 0) [[unlikely]]
    return {kToDrop, kHopLimitZero};
  if (ip->src.is_multicast() || ip->src.is_loopback() || is_mapped(ip->src)) [[unlikely]]
    return {kToDrop, kMartianSource};
  const bool is_interface_local = ip->dst.is_multicast() && (ip->dst.bytes[1] & 0x0f) <= 1;
  if (ip->dst.is_zero() || ip->dst.is_loopback() || is_mapped(ip->dst) || is_interface_local)
      [[unlikely]]
    return {kToDrop, kMartianDestination};
  trim_packet(at.w, b, total);
  b.flags |= V6::kFlags;
  b.l3_offset = b.offset_of_data();
  b.fib_index = f->ip6_fib_index.load(std::memory_order_relaxed);
  return {at.net.arcs.ip6_unicast->start(at.rt, b, b.rx_if, kToLookup), kOk};
}

}  // namespace

const NodeInfo kIp6Input{
    .name = "ip6-input",
    .run = decide_each<check, kCounterCount, kLoopPrefetch | kLoopTraceAfter, V6>,
    .counters = kCounters,
    .next = {"drop", "ip6-lookup"},
    .trace_format = format_ip_trace<V6>};

}  // namespace loom
