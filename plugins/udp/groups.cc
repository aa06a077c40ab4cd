// Who gets what is sent to groups. Node "udp-group":
//   in    datagrams to a group, data at the UDP header, l3_offset set, bytes of payload in opaque:
//         copies that another worker, or this host itself, has made
//   out   none: every socket of this worker that wants it has a copy
//   cost  a copy for each socket, and one of the packet for each other worker that has sockets
#include "groups.h"

#include <cstring>

#include "delivery.h"
#include "hearers.h"

namespace loom::udp {
namespace {

enum Counter : uint16_t { kDelivered, kNobody, kRefused, kNoPayload, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"delivered", Severity::kInfo, "handed to at least one session"},
    {"nobody", Severity::kInfo, "no session of this worker wants it"},
    {"rcvbuf-full", Severity::kWarn, "dropped: no application keeps up"},
    {"too-short", Severity::kError, "fewer than the 8 bytes of a header"},
};

struct View {
  IpAddress src, dst;
  uint8_t tos, ttl;
  bool lacks_checksum;  // over IPv6
};
View view_of(Buffer& b) noexcept {
  if (*b.at<uint8_t>(b.l3_offset) >> 4 == 6) {
    const auto& ip = *b.at<Ip6Header>(b.l3_offset);
    return {ip.src, ip.dst, ip.traffic_class(), ip.hop_limit, b.peek<UdpHeader>()->checksum == 0};
  }
  const auto& ip = *b.at<Ip4Header>(b.l3_offset);
  return {ip.src, ip.dst, ip.tos, ip.ttl, false};
}

bool wants(const UdpWorker& u, const Connection& c, const View& v, const Buffer& b) noexcept {
  if (!c.may_reach(v.dst.is_ip4) || c.ends.fib_index != b.fib_index) return false;
  if (!c.hears(b) || (!c.bound.is_zero() && c.bound != v.dst)) return false;
  if (v.lacks_checksum && !c.no_check6_rx) return false;
  if (!is_multicast(v.dst)) return true;
  if (const auto at = u.memberships.find(c.id); at != u.memberships.end())
    for (const Membership& m : at->second)
      if (m.interface == b.rx_if && m.group == v.dst) return m.lets(v.src);
  return v.dst.is_ip4 ? c.ip4_group_all : c.ip6_group_all;
}

// A packet of this worker's own memory, from `from` bytes before the data on. nullptr: no buffers.
Buffer* copy_of(Worker& w, const Buffer& chain, uint32_t before) noexcept {
  Buffer* first = w.alloc();
  Buffer* last = first;
  const auto put = [&](const std::byte* bytes, uint32_t n) {
    while (n != 0 && last) {
      if (last->tailroom() == 0) {
        last = last->next = w.alloc();
        continue;
      }
      const uint32_t piece = std::min(n, last->tailroom());
      std::memcpy(last->append(piece), bytes, piece);
      if (last != first) first->rest_len += piece;
      bytes += piece;
      n -= piece;
    }
  };
  if (first) put(chain.data - before, before);
  for (const Buffer* b = &chain; b && last; b = b->next) put(b->data, b->len);
  if (first && !last) {
    w.free(first);
    return nullptr;
  }
  if (!first) return nullptr;
  first->l3_offset = first->offset_of_data();
  first->advance(before);
  first->l4_offset = first->offset_of_data();
  first->rx_if = chain.rx_if;
  first->fib_index = chain.fib_index;
  first->gso_size = chain.gso_size;
  first->flags |= kBufferNetGroup | kBufferL4ChecksumOk;
  return first;
}

bool pass_on(UdpWorker& u, Buffer& b, uint32_t payload) noexcept {
  Shared& s = shared();
  bool any = false;
  for (uint32_t i = 0; i < s.n_bound.size(); ++i) {
    if (i == u.w.index || __atomic_load_n(&s.n_bound[i], __ATOMIC_RELAXED) == 0) continue;
    Buffer* copy = copy_of(u.w, b, static_cast<uint32_t>(b.offset_of_data() - b.l3_offset));
    if (!copy) continue;
    std::memcpy(copy->opaque, &payload, sizeof payload);
    u.w.hand_off(i, s.group, {&copy, 1});
    any = true;
  }
  return any;
}

GroupOutcome deliver_here(UdpWorker& u, Buffer& b, uint32_t payload) noexcept {
  GroupOutcome outcome;
  const View v = view_of(b);
  const auto& udp = *b.peek<UdpHeader>();
  const Datagram d = datagram_of(b);
  const auto [first, last] = u.bound_ports.equal_range(udp.dst_port);
  for (auto at = first; at != last; ++at) {
    Connection* c = u.connections.find(at->second);
    if (!c || !wants(u, *c, v, b)) continue;
    const Status s = give(u, *c, d, b, payload);
    ++(s == Status::kOk ? outcome.delivered : outcome.refused);
  }
  return outcome;
}

void udp_group(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  UdpWorker& u = udp_worker(w);
  std::array<uint32_t, kCounterCount> counts{};
  for (Buffer* b : in) {
    uint32_t payload;
    std::memcpy(&payload, b->opaque, sizeof payload);
    if (b->length() < sizeof(UdpHeader) + payload || !b->peek<UdpHeader>()) [[unlikely]] {
      ++counts[kNoPayload];
    } else {
      const GroupOutcome o = deliver_here(u, *b, payload);
      ++counts[o.delivered != 0 ? kDelivered : o.refused != 0 ? kRefused : kNobody];
    }
    w.free(b);
  }
  rt.add_counters(counts);
}

// The interface that is meant. kNoIndex: there is none. To leave, what is no member's is found out
// anyway, and the interface may be down by now.
IfIndex interface_of(UdpWorker& u, const GroupRequest& r) noexcept {
  const bool joins = r.op == GroupOp::kJoin || r.op == GroupOp::kJoinSource ||
                     r.op == GroupOp::kInclude || r.op == GroupOp::kExclude;
  if (r.interface != kNoIndex && !joins) return r.interface;
  GroupDestination d;
  d.to = r.group;
  d.interface = r.interface;  // then of the socket's table only
  d.source = r.address;
  d.fib_index = r.fib_index;
  RouteInfo route;
  return u.w.net->route_group(u.w, d, &route) == Status::kOk ? route.tx_if : kNoIndex;
}

uint64_t number_of(const UdpWorker& u, const Connection& c) noexcept {
  return uint64_t{u.w.index} << 32 | c.id;
}

Status listen(UdpWorker& u, const Connection& c, const Membership& m) noexcept {
  return u.w.net->listen_group(u.w, number_of(u, c), m.interface, m.group,
                               {m.is_exclude, m.sources});
}

// One more of those that the next kInclude or kExclude names.
Status add_filter(UdpWorker& u, ConnId id, const GroupRequest& r) noexcept {
  auto& sources = u.filters[id];
  if (r.number == 0) sources.clear();
  if (r.number != sources.size()) return Status::kInvalid;
  if (sources.size() == kMaxGroupSources) return Status::kNoMemory;
  sources.push_back(r.source);
  return Status::kOk;
}

// All sources at once. As Linux: there has to be a membership, and one of nobody is left.
Status apply_filter(const GroupRequest& r, bool is_member, std::vector<IpAddress> sources,
                    Membership& m) noexcept {
  if (sources.size() != r.number ||
      std::ranges::any_of(sources,
                          [&](const IpAddress& a) { return a.is_ip4 != r.group.is_ip4; }))
    return Status::kInvalid;
  const bool leaves = r.op == GroupOp::kInclude && sources.empty();
  if (!is_member) return leaves ? Status::kNotFound : Status::kInvalid;
  m.is_exclude = r.op == GroupOp::kExclude;
  m.has_named = !sources.empty();
  m.sources = std::move(sources);
  return Status::kOk;
}

Status read_filter(const GroupRequest& r, const Membership& m) noexcept {
  if (!r.filter) return Status::kInvalid;
  r.filter->is_exclude = m.is_exclude;
  r.filter->n_sources = static_cast<uint32_t>(m.sources.size());
  if (r.number < m.sources.size()) r.filter->source = m.sources[r.number];
  return Status::kOk;
}

// What the membership becomes; one of nobody is none. kInUse and kNotFound: it is so already.
Status apply(const GroupRequest& r, bool is_member, Membership& m) noexcept {
  const auto at = std::ranges::find(m.sources, r.source);
  const bool has = at != m.sources.end();
  switch (r.op) {
    case GroupOp::kJoin:
      if (is_member) return Status::kInUse;
      m.is_exclude = true;
      return Status::kOk;
    case GroupOp::kLeave:
      if (!is_member) return Status::kNotFound;
      m.is_exclude = false;
      m.sources.clear();
      return Status::kOk;
    case GroupOp::kJoinSource:
      if (is_member && m.is_exclude && m.has_named) return Status::kInvalid;
      m.is_exclude = false;
      break;
    case GroupOp::kBlockSource:
      if (!is_member) return Status::kNotFound;
      if (!m.is_exclude) return Status::kInvalid;
      break;
    case GroupOp::kLeaveSource:
    case GroupOp::kUnblockSource:
      if (!is_member || !has) return Status::kNotFound;
      if (m.is_exclude != (r.op == GroupOp::kUnblockSource)) return Status::kInvalid;
      m.sources.erase(at);
      return Status::kOk;
    default:
      return Status::kInvalid;
  }
  if (has) return Status::kNotFound;  // as Linux says: EADDRNOTAVAIL
  if (m.sources.size() == kMaxGroupSources) return Status::kNoMemory;
  m.sources.push_back(r.source);
  m.has_named = true;
  return Status::kOk;
}

}  // namespace

void note_bound(UdpWorker& u, const Connection& c, uint16_t port) noexcept {
  u.bound_ports.emplace(port, c.id);
  __atomic_fetch_add(&shared().n_bound[u.w.index], 1, __ATOMIC_RELAXED);
}

void note_unbound(UdpWorker& u, const Connection& c, uint16_t port) noexcept {
  const auto [first, last] = u.bound_ports.equal_range(port);
  for (auto at = first; at != last; ++at) {
    if (at->second != c.id) continue;
    u.bound_ports.erase(at);
    __atomic_fetch_sub(&shared().n_bound[u.w.index], 1, __ATOMIC_RELAXED);
    return;
  }
}

Datagram datagram_of(Buffer& b) noexcept {
  const View v = view_of(b);
  const auto& udp = *b.peek<UdpHeader>();
  Datagram d;
  d.ends.local = v.dst;
  d.ends.remote = v.src;
  d.ends.local_port = udp.dst_port;
  d.ends.remote_port = udp.src_port;
  d.ends.fib_index = b.fib_index;
  d.interface = b.rx_if;
  d.tos = v.tos;
  d.ttl = v.ttl;
  return d;
}

GroupOutcome deliver_to_group(UdpWorker& u, Buffer& b, uint32_t payload) noexcept {
  GroupOutcome o = deliver_here(u, b, payload);
  o.passed_on = pass_on(u, b, payload);
  return o;
}

// As Linux scores them: the more it has asked for, the better. Those that share a port share what
// comes by source port.
Connection* find_hearer(UdpWorker& u, Buffer& b, int& best_score) noexcept {
  const View v = view_of(b);
  const auto& udp = *b.peek<UdpHeader>();
  Connection* best = nullptr;
  best_score = -1;
  uint32_t n = 0;
  const auto [first, last] = u.bound_ports.equal_range(udp.dst_port);
  for (auto at = first; at != last; ++at) {
    Connection* c = u.connections.find(at->second);
    if (!c || !wants(u, *c, v, b)) continue;
    const int score = !c->bound.is_zero() + (c->interface != kNoIndex);
    if (score > best_score) n = 0;
    if (score < best_score || udp.src_port % ++n != 0) continue;
    best = c;
    best_score = score;
  }
  return best;
}

void loop_back(UdpWorker& u, Buffer& sent, IfIndex by) noexcept {
  Buffer* b = copy_of(u.w, sent, 0);
  if (!b) return;
  const auto header = static_cast<uint32_t>(
      *b->at<uint8_t>(b->l3_offset) >> 4 == 6 ? sizeof(Ip6Header) : sizeof(Ip4Header));
  b->advance(header);
  b->l4_offset = b->offset_of_data();
  b->rx_if = by;
  const uint32_t payload = b->length() - static_cast<uint32_t>(sizeof(UdpHeader));
  std::memcpy(b->opaque, &payload, sizeof payload);
  (void)pass_on(u, *b, payload);
  u.w.enqueue_to_node(shared().group, b);
}

Status change_membership(Worker& w, ConnId id, const GroupRequest& r) noexcept {
  UdpWorker& u = udp_worker(w);
  Connection* c = u.connections.find(id);
  if (!c) return Status::kNotConnected;
  const bool is_filter = r.op == GroupOp::kInclude || r.op == GroupOp::kExclude;
  const bool reads = r.op == GroupOp::kReadFilter;
  const bool has_source = r.op != GroupOp::kJoin && r.op != GroupOp::kLeave && !is_filter && !reads;
  if (!is_multicast(r.group) || (!c->may_reach(r.group.is_ip4) && c->bound != r.group) ||
      (has_source &&
       (r.source.is_ip4 != r.group.is_ip4 || (r.source.is_zero() && r.op != GroupOp::kAddFilter))))
    return Status::kInvalid;
  if (r.op == GroupOp::kAddFilter) return add_filter(u, id, r);
  std::vector<IpAddress> named;
  if (is_filter)
    if (const auto sources = u.filters.extract(id); r.number != 0 && !sources.empty())
      named = std::move(sources.mapped());
  auto& all = u.memberships[id];
  const bool is_any = r.interface == kNoIndex && r.address.is_zero() && r.op != GroupOp::kJoin &&
                      r.op != GroupOp::kJoinSource && !is_filter && !reads;
  const IfIndex interface = is_any ? kNoIndex : interface_of(u, r);
  auto at = std::ranges::find_if(all, [&](const Membership& m) {
    return m.group == r.group && (is_any || m.interface == interface);
  });
  const bool is_member = at != all.end();
  Status s = is_any || interface != kNoIndex ? Status::kOk : Status::kUnreachable;
  const auto is_of_family = [&](const Membership& m) { return m.group.is_ip4 == r.group.is_ip4; };
  const auto most =
      static_cast<std::ptrdiff_t>(r.group.is_ip4 ? kMaxMemberships4 : kMaxMemberships6);
  Membership m = is_member ? *at : Membership{interface, r.group, true, {}, false};
  if (reads) {
    if (s == Status::kOk) s = is_member ? read_filter(r, m) : Status::kNotFound;
    if (all.empty()) u.memberships.erase(id);
    return s;
  }
  if (s == Status::kOk)
    s = is_filter ? apply_filter(r, is_member, std::move(named), m) : apply(r, is_member, m);
  if (s == Status::kOk && !is_member && std::ranges::count_if(all, is_of_family) >= most)
    s = Status::kNoMemory;
  // Beside the socket's own bound, its application has one.
  const SessionOps& sessions = *u.w.sessions;
  const bool is_new = s == Status::kOk && !is_member;
  if (is_new && !sessions.take_membership(u.w, c->session)) {
    s = Status::kNoMemory;
  } else if (s == Status::kOk) {
    s = listen(u, *c, m);
    if (is_new && s != Status::kOk) sessions.give_back_memberships(u.w, c->session, 1);
  }
  if (s == Status::kOk) {
    if (is_new) {
      all.push_back(std::move(m));
    } else if (m.is_exclude || !m.sources.empty()) {
      *at = std::move(m);
    } else {  // it hears nobody any more
      all.erase(at);
      sessions.give_back_memberships(u.w, c->session, 1);
    }
  }
  if (all.empty()) u.memberships.erase(id);
  return s == Status::kNotFound && !is_any && interface == kNoIndex ? Status::kUnreachable : s;
}

void leave_all(UdpWorker& u, Connection& c) noexcept {
  if (!u.filters.empty()) [[unlikely]]
    u.filters.erase(c.id);
  if (u.memberships.empty()) [[likely]]
    return;
  const auto at = u.memberships.find(c.id);
  if (at == u.memberships.end()) return;
  for (Membership& m : at->second) {
    m.is_exclude = false;
    m.sources.clear();
    (void)listen(u, c, m);
  }
  u.w.sessions->give_back_memberships(u.w, c.session, static_cast<uint32_t>(at->second.size()));
  u.memberships.erase(at);
}

const NodeInfo kUdpGroup{
    .name = "udp-group", .run = udp_group, .counters = kCounters, .next = {"drop"}};

}  // namespace loom::udp
