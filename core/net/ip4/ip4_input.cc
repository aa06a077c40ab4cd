// Node "ip4-input": checks an IPv4 header as RFC 1122 section 3.2.1 and RFC 1812 section 5.2.2 say.
//   in    packets from ethernet-input or a driver, data at the IP header, rx_if set
//   out   the ip4-unicast features, then ip4-lookup | drop; l3_offset and fib_index set, Ethernet
//         padding cut off
#include <hostloom/checksum.h>

#include "net/group/group_wire.h"
#include "net/ip/node_loop.h"
#include "net/ip/trim.h"
#include "net/ip4/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToLookup };
enum Counter : uint16_t {
  kOk,
  kNoInterface,
  kInterfaceDown,
  kTooShort,
  kBadVersion,
  kHeaderLengthShort,
  kHeaderLengthOverrun,
  kTotalLengthShort,
  kTotalLengthOverrun,
  kBadChecksum,
  kTtlZero,
  kMartianSource,
  kMartianDestination,
  kSourceRoute,
  kOptionLength,
  kOptionOverrun,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"ok", Severity::kInfo, "valid packets"},
    {"no-interface", Severity::kError, "the interface is gone"},
    {"interface-down", Severity::kWarn, "the interface is down"},
    {"too-short", Severity::kError, "fewer than 20 bytes"},
    {"bad-version", Severity::kError, "the version is not 4"},
    {"header-length-short", Severity::kError, "header length below 5 words"},
    {"header-length-overrun", Severity::kError, "header length beyond the packet"},
    {"total-length-short", Severity::kError, "total length below the header length"},
    {"total-length-overrun", Severity::kError, "total length beyond the packet"},
    {"bad-checksum", Severity::kError, "wrong header checksum"},
    {"ttl-zero", Severity::kError, "time to live is 0"},
    {"martian-source", Severity::kError, "source is multicast, broadcast, loopback or zero"},
    {"martian-destination", Severity::kError, "destination is loopback or zero, on a wire"},
    {"source-route", Severity::kError, "source-route option (refused, RFC 7126)"},
    {"option-length", Severity::kError, "an option says that it is shorter than its own header"},
    {"option-overrun", Severity::kError, "an option goes beyond the IP header"},
};

// Options that a host must not obey are refused; the others are ignored (RFC 1122 section 3.2.1.8).
Counter check_options(const Ip4Header& ip) noexcept {
  constexpr uint8_t kEnd = 0, kNop = 1, kLooseSourceRoute = 131, kStrictSourceRoute = 137;
  const auto* p = reinterpret_cast<const uint8_t*>(&ip) + sizeof(Ip4Header);
  const auto* end = reinterpret_cast<const uint8_t*>(&ip) + ip.header_length();
  while (p < end && *p != kEnd) {
    if (*p == kNop) {
      ++p;
      continue;
    }
    if (end - p < 2) return kOptionOverrun;
    if (p[1] < 2) return kOptionLength;
    if (p[1] > end - p) return kOptionOverrun;
    if (*p == kLooseSourceRoute || *p == kStrictSourceRoute) return kSourceRoute;
    p += p[1];
  }
  return kOk;
}

// A switch that asks about groups has no address (RFC 4541 section 2.1.1).
bool may_have_no_source(const Ip4Header& ip) noexcept {
  return ip.protocol == kProtoIgmp && ip.dst.is_multicast();
}

Verdict<uint16_t, Counter> check(const NodeContext& at, Buffer& b) noexcept {
  const Interface* f = at.net.interfaces.find(b.rx_if);
  if (!f) [[unlikely]]
    return {kToDrop, kNoInterface};
  if (!f->is_up()) [[unlikely]]
    return {kToDrop, kInterfaceDown};
  const auto* ip = b.peek<Ip4Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  if (ip->version() != 4) [[unlikely]]
    return {kToDrop, kBadVersion};
  const uint32_t header = ip->header_length();
  if (header < sizeof(Ip4Header)) [[unlikely]]
    return {kToDrop, kHeaderLengthShort};
  if (header > b.len) [[unlikely]]
    return {kToDrop, kHeaderLengthOverrun};
  const uint32_t total = ip->total_length;
  if (total < header) [[unlikely]]
    return {kToDrop, kTotalLengthShort};
  if (total > b.length()) [[unlikely]]
    return {kToDrop, kTotalLengthOverrun};
  if (!(b.flags & kBufferIp4ChecksumOk) && !ip4_header_checksum_ok(*ip)) [[unlikely]]
    return {kToDrop, kBadChecksum};
  if (ip->ttl == 0) [[unlikely]]
    return {kToDrop, kTtlZero};
  if (ip->src.is_multicast() || ip->src.is_broadcast() || ip->src.is_loopback() ||
      (ip->src.is_zero() && !may_have_no_source(*ip))) [[unlikely]]
    return {kToDrop, kMartianSource};
  if (ip->dst.is_loopback() || ip->dst.is_zero()) [[unlikely]]
    return {kToDrop, kMartianDestination};
  if (header > sizeof(Ip4Header)) [[unlikely]] {
    if (const Counter bad = check_options(*ip); bad != kOk) return {kToDrop, bad};
  }
  trim_packet(at.w, b, total);
  b.l3_offset = b.offset_of_data();
  b.fib_index = f->ip4_fib_index.load(std::memory_order_relaxed);
  return {at.net.arcs.ip4_unicast->start(at.rt, b, b.rx_if, kToLookup), kOk};
}

}  // namespace

const NodeInfo kIp4Input{
    .name = "ip4-input",
    .run = decide_each<check, kCounterCount, kLoopPrefetch | kLoopTraceAfter, V4>,
    .counters = kCounters,
    .next = {"drop", "ip4-lookup"},
    .trace_format = format_ip_trace<V4>};

}  // namespace loom
