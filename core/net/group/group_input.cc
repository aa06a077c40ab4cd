// Nodes "igmp-input" and "mld-input": queries of routers about groups (RFC 3376 section 4.1, RFC
// 3810 section 5.1).
//   in    IGMP packets for this host, data at their header; MLD queries from icmp6-input, checked
//   out   the same node of worker 0, which answers | drop, in any case
//   cost  rare
#include <algorithm>

#include <hostloom/checksum.h>

#include "net/group/group_reports.h"
#include "net/group/group_wire.h"
#include "net/group/nodes.h"
#include "net/neighbor/to_worker0.h"
#include "net/state.h"

namespace loom {
namespace {

enum Counter : uint16_t {
  kQuery,
  kTooShort,
  kBadGroup,
  kHandedOff,
  kHandoffFull,
  kNotOfLink,
  kOther,
  kMore,
  kCounterCount
};
constexpr uint16_t kNotForHosts = kOther, kBadChecksum = kMore;  // of IGMP
constexpr uint16_t kBadSource = kOther, kNoAlert = kMore;        // of MLD
constexpr CounterInfo kIgmpCounters[kCounterCount] = {
    {"query", Severity::kInfo, "queries of a router about groups"},
    {"too-short", Severity::kError, "fewer bytes than a query has"},
    {"bad-group", Severity::kError, "a query about an address that is no group's"},
    {"handed-off", Severity::kInfo, "to worker 0, which answers"},
    {"handoff-full", Severity::kWarn, "worker 0 does not keep up"},
    {"not-of-link", Severity::kError, "a query of another TTL than 1, or sent to another group"},
    {"not-for-hosts", Severity::kInfo, "reports, and other messages that only routers look at"},
    {"bad-checksum", Severity::kError, "wrong checksum"},
};
constexpr CounterInfo kMldCounters[kCounterCount] = {
    {"query", Severity::kInfo, "queries of a router about groups"},
    {"too-short", Severity::kError, "fewer bytes than a query has"},
    {"bad-group", Severity::kError, "a query about an address that is no group's"},
    {"handed-off", Severity::kInfo, "to worker 0, which answers"},
    {"handoff-full", Severity::kWarn, "worker 0 does not keep up"},
    {"not-of-link", Severity::kError, "a query of another hop limit than 1"},
    {"bad-source", Severity::kError, "a query that is not from a link-local address"},
    {"no-router-alert", Severity::kError, "a query without that option"},
};

constexpr uint8_t kHopByHop = 0, kPad1 = 0, kRouterAlert = 5;
constexpr Ip4Address kAllSystems{{224, 0, 0, 1}};

// A floating-point code of RFC 3376 section 4.1.1 (8 bits, 4 of them the mantissa's) or RFC 3810
// section 5.1.3 (16 bits, 12 of them).
uint32_t decode(uint32_t code, unsigned mantissa_bits) noexcept {
  const uint32_t top = 1u << (mantissa_bits + 3);
  if (code < top) return code;
  const uint32_t mantissa = code & ((1u << mantissa_bits) - 1);
  const uint32_t exponent = code >> mantissa_bits & 7;
  return (mantissa | 1u << mantissa_bits) << (exponent + 3);
}

// What a query is about, of whichever version; kQuery, or what is wrong with it. Longer ones than
// the header `h` are of the latest version (RFC 3376 section 7.1, RFC 3810 section 8.1).
template <class Header>
Counter read_query(const Buffer& b, const Header& h, GroupQuery& q) noexcept {
  const uint32_t bytes = b.length();
  if (bytes != sizeof h && bytes < sizeof h + 4) return kTooShort;
  q.interface = b.rx_if;
  q.group = h.group;
  q.is_general = h.group.is_zero();
  q.version = bytes > sizeof h ? 3 : 2;
  return q.is_general || h.group.is_multicast() ? kQuery : kBadGroup;
}

uint16_t igmp(Worker& w, Buffer& b) {
  const auto* h = b.peek<IgmpHeader>();
  if (!h) return kTooShort;
  if (checksum_fold(checksum_add_chain(0, &b, 0, b.length())) != 0xffff) return kBadChecksum;
  if (h->type != kIgmpQuery) return kNotForHosts;
  GroupQuery q;
  if (const Counter read = read_query(b, *h, q); read != kQuery) return read;
  // From beyond a router nobody changes the version that is spoken here (RFC 3376 section 9.1).
  const auto& ip = *b.at<Ip4Header>(b.l3_offset);
  if (ip.ttl != 1 || (q.is_general && ip.dst.is_multicast() && ip.dst != kAllSystems))
    return kNotOfLink;
  if (q.version == 2 && h->max_response == 0) q.version = 1;
  const uint32_t tenths = q.version == 1   ? 100  // RFC 2236 section 4
                          : q.version == 2 ? uint32_t{h->max_response}
                                           : decode(h->max_response, 4);
  q.max_response = tenths * 100 * kMillisecond;
  net_state(w).group_reports.query(w, q);
  return kQuery;
}

// RFC 2711. In the hop-by-hop options, which follow the header directly.
bool has_router_alert(Buffer& b, const Ip6Header& ip) noexcept {
  if (ip.next_header != kHopByHop) return false;
  const auto* p = reinterpret_cast<const uint8_t*>(&ip + 1);
  const auto most =
      static_cast<uint32_t>(b.offset_of_data() - b.l3_offset - static_cast<int>(sizeof ip));
  const uint32_t n = most < 8 ? 0 : std::min(8 * (p[1] + 1u), most);
  for (uint32_t at = 2; at + 2 <= n;) {
    if (p[at] == kRouterAlert) return true;
    at += p[at] == kPad1 ? 1 : 2u + p[at + 1];
  }
  return false;
}

uint16_t mld(Worker& w, Buffer& b) {
  const auto* h = b.peek<MldHeader>();
  if (!h) return kTooShort;
  const auto& ip = *b.at<Ip6Header>(b.l3_offset);
  if (!ip.src.is_link_local()) return kBadSource;
  if (ip.hop_limit != 1) return kNotOfLink;  // RFC 3810 section 6.2
  if (!has_router_alert(b, ip)) return kNoAlert;
  GroupQuery q;
  if (const Counter read = read_query(b, *h, q); read != kQuery) return read;
  q.max_response =
      (q.version == 2 ? uint32_t{h->max_response} : decode(h->max_response, 12)) * kMillisecond;
  net_state(w).group_reports.query(w, q);
  return kQuery;
}

template <uint16_t (*kHandle)(Worker&, Buffer&), std::size_t kCounters>
void run(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint32_t, kCounters> counts{};
  for (Buffer* b : in) {
    if (w.index != 0) {
      const bool is_taken = take_to_worker0(w, rt.id, b);
      ++counts[is_taken ? kHandedOff : kHandoffFull];
      if (!is_taken) w.free(b);
      continue;
    }
    ++counts[kHandle(w, *b)];
    w.free(b);
  }
  rt.add_counters(counts);
}

}  // namespace

const NodeInfo kIgmpInput{.name = "igmp-input",
                          .run = run<igmp, kCounterCount>,
                          .counters = kIgmpCounters,
                          .next = {"drop"}};
const NodeInfo kMldInput{.name = "mld-input",
                         .run = run<mld, kCounterCount>,
                         .counters = kMldCounters,
                         .next = {"drop"}};

}  // namespace loom
