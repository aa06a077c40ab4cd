// Node "udp-hearer":
//   in    datagrams that other workers look for a socket for, data at the UDP header, l3_offset
//         set, a Search in opaque
//   out   none: a socket has it, or another worker; icmpN-error (nobody hears it); drop (the same,
//         without a checksum over IPv6, or a group's or a broadcast)
//   cost  a look at the sockets of the port, and the copy
#include "hearers.h"

#include <hostloom/net.h>

#include <cstring>

#include "delivery.h"
#include "groups.h"

namespace loom::udp {
namespace {

enum Next : uint16_t {
  kToDrop,
  kToIcmp4Error,
  kToIcmp6Error,
  kNextCount,
  kToNobody = kNextCount,  // no arc: the packet ends here
  kToWorker,               // no arc: another worker's
};
enum Counter : uint16_t {
  kDelivered,
  kPassedOn,
  kNoPort,
  kNoPortGroup,
  kNotTaken,
  kNoPayload,
  kCounterCount,
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"delivered", Severity::kInfo, "handed to a session"},
    {"passed-on", Severity::kInfo, "to the next worker that may have a socket for it"},
    {"no-port", Severity::kInfo, "nobody hears the port on that link; the sender is told"},
    {"no-port-group", Severity::kInfo,
     "nobody hears it, and it was for a broadcast or multicast address: not answered"},
    {"not-taken", Severity::kWarn,
     "dropped: the application does not keep up or closes, or no checksum and nobody takes it so"},
    {"too-short", Severity::kError, "fewer than the 8 bytes of a header"},
};

// What has been found so far.
struct Search {
  uint32_t payload;
  uint8_t first;      // worker that began
  uint8_t best;       // worker, with score >= 0
  int8_t score;       // -1: none yet
  uint8_t is_chosen;  // all have been asked: it is for `best`
};
static_assert(sizeof(Search) <= sizeof(Buffer::opaque));

bool has_sockets(uint32_t worker) noexcept {
  return __atomic_load_n(&shared().n_bound[worker], __ATOMIC_RELAXED) != 0;
}

// The next one behind `worker` that has sockets; the first one comes last, whatever it has.
uint32_t next_of(uint32_t worker, uint32_t first) noexcept {
  do {
    worker = (worker + 1) % shared().n_workers;
  } while (worker != first && !has_sockets(worker));
  return worker;
}

Verdict<Next, Counter> give_to(UdpWorker& u, Connection& c, Buffer& b, uint32_t payload) noexcept {
  return {kToNobody,
          give(u, c, datagram_of(b), b, payload) == Status::kOk ? kDelivered : kNotTaken};
}

Verdict<Next, Counter> nobody(Buffer& b) noexcept {
  const bool is_ip6 = *b.at<uint8_t>(b.l3_offset) >> 4 == 6;
  if (is_ip6 && b.peek<UdpHeader>()->checksum == 0) return {kToDrop, kNotTaken};
  if (b.flags & kBufferGroup) return {kToDrop, kNoPortGroup};  // RFC 1122 section 3.2.2
  if (is_ip6)
    request_icmp_error(b, kIcmp6Unreachable, kIcmp6PortUnreachable);
  else
    request_icmp_error(b, kIcmp4Unreachable, kIcmp4PortUnreachable);
  return {is_ip6 ? kToIcmp6Error : kToIcmp4Error, kNoPort};
}

// kToWorker: `to` is the next, and what it is told has changed.
Verdict<Next, Counter> look(UdpWorker& u, Buffer& b, Search& s, uint32_t& to) noexcept {
  if (!b.peek<UdpHeader>() || b.length() < sizeof(UdpHeader) + s.payload) [[unlikely]]
    return {kToDrop, kNoPayload};
  int score = -1;
  Connection* c = find_hearer(u, b, score);
  if (s.is_chosen) return c ? give_to(u, *c, b, s.payload) : nobody(b);  // it may have gone
  // Of equals on several workers the first that is asked has it, always; Linux spreads them.
  if (c && score > s.score) {
    if (score == kMostAsked) return give_to(u, *c, b, s.payload);
    s.score = static_cast<int8_t>(score);
    s.best = static_cast<uint8_t>(u.w.index);
  }
  to = next_of(u.w.index, s.first);
  if (to == s.first) {
    if (s.score < 0) return nobody(b);
    if (s.best == u.w.index) return give_to(u, *c, b, s.payload);
    s.is_chosen = true;
    to = s.best;
  }
  return {kToWorker, kPassedOn};
}

void udp_hearer(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  UdpWorker& u = udp_worker(w);
  std::array<Buffer*, kFrameSize> leaving, ended;
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  std::size_t n_leaving = 0, n_ended = 0;
  for (Buffer* const b : in) {
    Search s;
    std::memcpy(&s, b->opaque, sizeof s);
    uint32_t to = 0;
    const auto verdict = look(u, *b, s, to);
    ++counts[verdict.counter];
    if (verdict.next == kToNobody) {
      ended[n_ended++] = b;
    } else if (verdict.next == kToWorker) {
      std::memcpy(b->opaque, &s, sizeof s);
      w.hand_off(to, rt.id, {&b, 1});
    } else {
      if (verdict.next == kToDrop) rt.set_error(*b, verdict.counter);
      leaving[n_leaving] = b;
      next[n_leaving++] = verdict.next;
    }
  }
  rt.add_counters(counts);
  if (n_ended != 0) w.free({ended.data(), n_ended});
  if (n_leaving != 0) rt.enqueue({leaving.data(), n_leaving}, next);
}

}  // namespace

bool may_be_elsewhere(UdpWorker& u, const Buffer& b) noexcept {
  if (next_of(u.w.index, u.w.index) == u.w.index) return false;
  const uint16_t port = reinterpret_cast<const UdpHeader*>(b.data)->dst_port;
  const LocalPorts::Table* ports = shared().local_ports->find(b.fib_index);
  uint32_t here = 0;
  const auto [first, last] = u.bound_ports.equal_range(port);
  for (auto at = first; at != last; ++at) {
    const Connection* c = u.connections.find(at->second);
    here += c && c->ends.fib_index == b.fib_index;
  }
  return ports && ports->count(port) > here;
}

void note_search(const UdpWorker& u, Buffer& b, uint32_t payload, int score) noexcept {
  const auto self = static_cast<uint8_t>(u.w.index);
  const Search s{payload, self, self, static_cast<int8_t>(score), false};
  std::memcpy(b.opaque, &s, sizeof s);
}

void look_elsewhere(UdpWorker& u, Buffer& b) noexcept {
  Buffer* const packet = &b;
  u.w.hand_off(next_of(u.w.index, u.w.index), shared().hearer, {&packet, 1});
}

const NodeInfo kUdpHearer{.name = "udp-hearer",
                          .run = udp_hearer,
                          .counters = kCounters,
                          .next = {"drop", "icmp4-error", "icmp6-error"}};

}  // namespace loom::udp
