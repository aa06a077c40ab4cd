// Nodes "ip4-reassembly" and "ip6-reassembly": datagrams for this host out of their fragments.
//   in    from ipN-local: fragments, data at the IP header, l3_offset set
//   out   ipN-local: whole datagrams, data at the IP header | icmpN-error | drop
// Fragments that are not dropped at once are counted when it is known what became of them.
#include <hostloom/checksum.h>

#include "net/ip/node_loop.h"
#include "net/ip/version.h"
#include "net/ip6/extension_headers.h"
#include "net/ip6/fragment_header.h"
#include "net/reassembly/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

using Table = ReassemblyTable;

enum Next : uint16_t { kToDrop = kNextDrop, kToError, kToLocal };
enum Counter : uint16_t {  // after the fates
  kHandedOff = Table::kFateCount,
  kHandoffFull,
  kNoInterface,
  kBadHeader,
  kNoFragment,
  kEmpty,
  kBadLength,
  kTooLong,
  kCounterCount4,
  kGivenUp = kCounterCount4,
  kHeadersSplit,
  kNeighborDiscovery,
  kCounterCount6
};
constexpr std::array<CounterInfo, kCounterCount6> kCounters = {{
    {"reassembled", Severity::kInfo, "fragments of datagrams that became whole"},
    {"duplicate", Severity::kInfo, "fragments that came twice"},
    {"overlap", Severity::kError, "fragments of datagrams with overlapping ones (RFC 5722)"},
    {"contradiction", Severity::kError, "fragments of datagrams with two ends"},
    {"too-many", Severity::kWarn, "fragments of datagrams in too many pieces"},
    {"too-large", Severity::kWarn,
     "of datagrams larger than a packet, or than buffers for fragments"},
    {"mixed-ecn", Severity::kWarn, "of congested datagrams, not all ECN-capable (RFC 3168)"},
    {"evicted", Severity::kWarn, "fragments that made room for others"},
    {"timed-out", Severity::kWarn, "fragments whose datagrams did not become whole in time"},
    {"flushed", Severity::kInfo, "fragments that were held when their interface went"},
    {"handed-off", Severity::kInfo, "fragments of datagrams that another worker collects"},
    {"handoff-full", Severity::kWarn, "that worker does not keep up"},
    {"no-interface", Severity::kInfo, "fragments whose interface has gone"},
    {"bad-header", Severity::kError, "without whole IP headers in the first segment"},
    {"no-fragment", Severity::kError, "packets that are none"},
    {"empty", Severity::kError, "fragments without payload"},
    {"bad-length", Severity::kError, "not the last, and no multiple of 8 bytes"},
    {"too-long", Severity::kError, "fragments that end beyond the longest packet"},
    {"given-up", Severity::kWarn, "fragments of datagrams that had been given up"},
    {"headers-split", Severity::kError, "first fragments without all headers (RFC 7112)"},
    {"neighbor-discovery", Severity::kError, "neighbour discovery in fragments (RFC 6980)"},
}};
constexpr uint32_t kMostPayload = 65'535;  // of the IP packet, by either version's length field

// One fragment as its header says; or, with a counter other than kHandedOff, what is wrong.
struct Parsed {
  Counter counter = kHandedOff;  // none
  bool is_answered = false;      // the sender is told, as IcmpErrorRequest has been set
  Fragment fragment{};
  FragmentKey key{};
};

uint64_t places(const Buffer& b, bool is_link_local) noexcept {
  return b.fib_index | uint64_t{is_link_local ? b.rx_if : kNoIndex} << 32;
}

struct Ip4 : V4 {
  using Version = V4;
  static Table& table(NetWorker& w) noexcept { return *w.fragments4; }
  static NodeId node(const NetState& s) noexcept { return s.nodes.ip4_reassembly; }
  static NodeId error_node(const NetState& s) noexcept { return s.nodes.icmp4_error; }

  static Parsed parse(Buffer& b) noexcept {
    const auto* ip = b.peek<Header>();
    if (!ip || ip->header_length() < sizeof(Header) || ip->header_length() > b.len ||
        b.is_external())
      return {kBadHeader};
    if (!ip->is_fragment()) return {kNoFragment};
    constexpr uint16_t kMoreFragments = 0x2000, kOffsetMask = 0x1fff;
    const uint16_t field = ip->flags_fragment;
    const uint32_t header = ip->header_length();
    Parsed p;
    p.fragment = {.next = nullptr,
                  .offset = (field & kOffsetMask) * 8u,
                  .length = b.length() - header,
                  .strip = static_cast<uint16_t>(header),
                  .ecn = static_cast<uint8_t>(ip->tos & 3),
                  .is_last = !(field & kMoreFragments)};
    if (p.fragment.length == 0) return {kEmpty};
    if (!p.fragment.is_last && p.fragment.length % 8 != 0) return {kBadLength};
    if (header + p.fragment.offset + p.fragment.length > kMostPayload) return {kTooLong};
    p.key = {uint64_t{ip->src.raw()} << 32 | ip->dst.raw(),
             0,
             0,
             0,
             uint64_t{uint16_t{ip->id}} | uint64_t{ip->protocol} << 32,
             places(b, false)};
    return p;
  }
  static constexpr uint32_t kMostBytes = kMostPayload;
  // The header of the whole.
  static void finish(Buffer& b, const Fragment& whole) noexcept {
    auto& ip = *b.peek<Header>();
    ip.total_length = static_cast<uint16_t>(whole.strip + whole.length);
    ip.flags_fragment = 0;
    ip.tos = static_cast<uint8_t>((ip.tos & ~3u) | whole.ecn);
    ip.checksum = 0;
    ip.checksum = ip4_header_checksum(ip);
  }
};

struct Ip6 : V6 {
  using Version = V6;
  static Table& table(NetWorker& w) noexcept { return *w.fragments6; }
  static NodeId node(const NetState& s) noexcept { return s.nodes.ip6_reassembly; }
  static NodeId error_node(const NetState& s) noexcept { return s.nodes.icmp6_error; }

  // Whether the headers are there through that of the protocol above (RFC 7112 section 5).
  static bool has_all_headers(const Buffer& b, const Ip6UpperLayer& up) noexcept {
    uint32_t least = 1;
    if (up.protocol == kProtoTcp) least = sizeof(TcpHeader);
    if (up.protocol == kProtoUdp) least = sizeof(UdpHeader);
    if (up.protocol == kProtoIcmp6) least = sizeof(IcmpHeader);
    return up.is_visible && up.at + least <= b.len;
  }
  static bool is_neighbor_discovery(uint8_t type) noexcept {
    return type >= 133 && type <= 137;  // router solicitation to redirect (RFC 4861)
  }
  static Parsed answered(Buffer& b, Counter counter, uint8_t code, uint32_t pointer) noexcept {
    request_icmp_error(b, kIcmp6ParameterProblem, code, pointer);
    return {counter, true};
  }
  static Parsed parse(Buffer& b) noexcept {
    const auto* ip = b.peek<Header>();
    if (!ip || b.is_external()) return {kBadHeader};
    const Ip6WalkResult walk = walk_extension_headers(b);
    if (walk.verdict != Ip6Walk::kFragment) return {kNoFragment};
    const uint32_t at = walk.header_bytes;
    const auto& header = *b.peek<Ip6FragmentHeader>(at);
    const uint32_t strip = at + static_cast<uint32_t>(sizeof header);
    const uint16_t field = header.offset_flags;
    Parsed p;
    p.fragment = {.next = nullptr,
                  .offset = field & 0xfff8u,
                  .length = b.length() - strip,
                  .strip = static_cast<uint16_t>(strip),
                  .ecn = static_cast<uint8_t>(ip->traffic_class() & 3),
                  .is_last = !(field & 1)};
    if (p.fragment.length == 0) return {kEmpty};
    if (!p.fragment.is_last && p.fragment.length % 8 != 0)
      return answered(b, kBadLength, 0, offsetof(Header, payload_length));
    if (at - sizeof(Header) + p.fragment.offset + p.fragment.length > kMostPayload)
      return answered(b, kTooLong, 0, at + offsetof(Ip6FragmentHeader, offset_flags));
    if (p.fragment.offset == 0) {
      const Ip6UpperLayer up = find_upper_layer(b);
      if (!has_all_headers(b, up)) return answered(b, kHeadersSplit, 3, 0);
      if (up.protocol == kProtoIcmp6 && is_neighbor_discovery(b.peek<IcmpHeader>(up.at)->type))
        return {kNeighborDiscovery};
    }
    std::memcpy(&p.key[0], &ip->src, sizeof ip->src);
    std::memcpy(&p.key[2], &ip->dst, sizeof ip->dst);
    p.key[4] = header.id;
    p.key[5] = places(b, ip->src.is_link_local());
    return p;
  }
  static constexpr uint32_t kMostBytes = kMostPayload + sizeof(Header) + sizeof(Ip6FragmentHeader);
  // Takes the fragment header out.
  static void finish(Buffer& b, const Fragment& whole) noexcept {
    const Ip6WalkResult walk = walk_extension_headers(b);
    const uint32_t at = walk.header_bytes;
    const uint32_t length = at - static_cast<uint32_t>(sizeof(Header)) + whole.length;
    b.data[walk.next_header_field] =
        static_cast<std::byte>(b.peek<Ip6FragmentHeader>(at)->next_header);
    std::memmove(b.data + sizeof(Ip6FragmentHeader), b.data, at);
    b.advance(sizeof(Ip6FragmentHeader));
    auto& ip = *b.peek<Header>();
    ip.payload_length = static_cast<uint16_t>(length);
    constexpr uint32_t kEcnShift = 20;
    ip.version_class_flow = (ip.version_class_flow & ~(3u << kEcnShift)) | uint32_t{whole.ecn}
                                                                               << kEcnShift;
  }
};

template <class Ip>
void reassemble(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  Table& table = Ip::table(net_worker(w));
  const uint32_t n_workers = net.engine.n_workers();
  for (Buffer* b : in) {
    if (b->is_traced()) [[unlikely]]
      trace_ip<typename Ip::Version>(rt, *b);
    const auto end = [&](uint16_t counter, Next next) {
      rt.count(counter);
      if (next == kToDrop) rt.set_error(*b, counter);
      rt.enqueue_all({&b, 1}, next);
    };
    // One that was on its way here when its interface went.
    if (b->rx_if != kNoIndex && !net.interfaces.find(b->rx_if)) [[unlikely]] {
      end(kNoInterface, kToDrop);
      continue;
    }
    b->l3_offset = b->offset_of_data();
    const Parsed p = Ip::parse(*b);
    if (p.counter != kHandedOff) {
      end(p.counter, p.is_answered ? kToError : kToDrop);
      continue;
    }
    if (n_workers > 1) {
      const auto to =
          static_cast<uint32_t>((keyed_hash(p.key, net.fragment_secret) >> 32) % n_workers);
      if (to != w.index) {
        // What waits for a worker waits with the sender, without a limit: not what anybody can
        // send.
        if (net.engine.hand_off_waits(w.index, to)) {
          end(kHandoffFull, kToDrop);
          continue;
        }
        rt.count(kHandedOff);
        w.hand_off(to, rt.id, {&b, 1});
        continue;
      }
    }
    Buffer* whole = nullptr;
    const Table::Fate fate = table.add(w, p.key, b, p.fragment, &whole);
    if (fate == Table::kHeld) continue;
    if (fate != Table::kReassembled) {
      end(fate == Table::kGivenUp ? uint16_t{kGivenUp} : uint16_t{fate}, kToDrop);
      continue;
    }
    b = whole;
    Fragment about;
    std::memcpy(&about, b->opaque, sizeof about);
    Ip::finish(*b, about);
    end(fate, kToLocal);
  }
}

template <class Ip>
void time_exceeded(Worker& w, Buffer* first) noexcept {
  constexpr uint8_t kReassembly = 1;  // RFC 792, RFC 4443 section 3.3
  request_icmp_error(*first, Ip::kTimeExceeded, kReassembly);
  w.enqueue_to_node(Ip::error_node(net_state(w)), first);
}
template <class Ip>
void count_fates(Worker& w, Table::Fate fate, uint32_t fragments) noexcept {
  w.node_runtime(Ip::node(net_state(w))).count(fate, fragments);
}

template <class Ip>
std::unique_ptr<Table> make_table(const ReassemblyLimits& limits) {
  return std::make_unique<Table>(limits, HashSecret::random(), time_exceeded<Ip>, count_fates<Ip>);
}

}  // namespace

void make_reassembly(NetWorker& w) {
  const NetState& s = *w.state;
  ReassemblyLimits limits;
  limits.buffers = s.config.reassembly_buffers;
  if (limits.buffers == 0) {
    uint64_t all = 0;
    for (const auto* pool : s.engine.buffer_pools()) all += pool->stats().total;
    const uint64_t of_worker = all / s.engine.n_workers();
    constexpr uint64_t kLongest = 64;  // a datagram of 64 KB, and others
    limits.buffers =
        static_cast<uint32_t>(std::max(of_worker / 16, std::min(kLongest, of_worker / 4)));
  }
  limits.bytes = Ip6::kMostBytes;
  w.fragments6 = make_table<Ip6>(limits);
  limits.bytes = Ip4::kMostBytes;
  limits.time = 30 * kSecond;
  limits.remembers_given_up = false;
  w.fragments4 = make_table<Ip4>(limits);
}

void flush_reassembly(NetState& s, IfIndex rx_if) {
  for (uint32_t i = 0; i < s.engine.n_workers(); ++i)
    s.engine.run_on_worker(i, [&](Worker& w) {
      s.workers[i]->fragments4->flush(w, rx_if);
      s.workers[i]->fragments6->flush(w, rx_if);
    });
}

const NodeInfo kIp4Reassembly{.name = "ip4-reassembly",
                              .run = reassemble<Ip4>,
                              .counters = std::span(kCounters).first(kCounterCount4),
                              .next = {"drop", "icmp4-error", "ip4-local"},
                              .trace_format = format_ip_trace<V4>};
const NodeInfo kIp6Reassembly{.name = "ip6-reassembly",
                              .run = reassemble<Ip6>,
                              .counters = kCounters,
                              .next = {"drop", "icmp6-error", "ip6-local"},
                              .trace_format = format_ip_trace<V6>};

}  // namespace loom
