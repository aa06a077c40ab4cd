#include "net/neighbor/neighbor_table.h"

#include <algorithm>

#include "net/neighbor/neighbor_messages.h"
#include "net/state.h"

namespace loom {
namespace {

using Key4 = Bihash<8>::Key;
using Key6 = Bihash<24>::Key;

Key4 key4(IfIndex interface, const IpAddress& a) noexcept {
  return {uint64_t{interface} << 32 | a.ip4().raw()};
}
Key6 key6(IfIndex interface, const IpAddress& a) noexcept {
  Key6 key{};
  std::memcpy(key.data(), a.bits.bytes.data(), 16);
  key[2] = interface;
  return key;
}

constexpr uint64_t value_of(uint32_t index, uint32_t adjacency) noexcept {
  return uint64_t{index} << 32 | adjacency;
}

}  // namespace

Result<void> NeighborTable::init(uint32_t capacity) {
  capacity_ = capacity;
  for (auto& l : limits_) l.max_number = capacity;
  auto index4 = Bihash<8>::create({.buckets = capacity / 4, .max_bytes = 64 << 20});
  if (!index4) return index4.error();
  auto index6 = Bihash<24>::create({.buckets = capacity / 4, .max_bytes = 64 << 20});
  if (!index6) return index6.error();
  index4_ = std::move(*index4);
  index6_ = std::move(*index6);
  return {};
}

// --- Index ---------------------------------------------------------------------------------------

std::optional<uint64_t> NeighborTable::index_get(IfIndex interface,
                                                 const IpAddress& a) const noexcept {
  return a.is_ip4 ? index4_->find(key4(interface, a)) : index6_->find(key6(interface, a));
}
Status NeighborTable::index_put(const Neighbor& n) noexcept {
  const uint64_t value = value_of(n.index, n.adjacency);
  return n.address.is_ip4 ? index4_->add(key4(n.interface, n.address), value)
                          : index6_->add(key6(n.interface, n.address), value);
}
void NeighborTable::index_del(const Neighbor& n) noexcept {
  (void)(n.address.is_ip4 ? index4_->del(key4(n.interface, n.address))
                          : index6_->del(key6(n.interface, n.address)));
}

uint32_t NeighborTable::find_adjacency(IfIndex interface, const IpAddress& a) const noexcept {
  const auto value = index_get(interface, a);
  return value ? static_cast<uint32_t>(*value) : kNoIndex;
}
Neighbor* NeighborTable::find(IfIndex interface, const IpAddress& a) noexcept {
  const auto value = index_get(interface, a);
  return value ? by_index(static_cast<uint32_t>(*value >> 32)) : nullptr;
}
Neighbor* NeighborTable::by_index(uint32_t index) noexcept {
  return index < n_slots_ && is_live_[index] ? &chunks_[index / kChunk][index % kChunk] : nullptr;
}

// --- Life ----------------------------------------------------------------------------------------

Neighbor* NeighborTable::create(Worker& w, IfIndex interface, const IpAddress& address) {
  const NeighborLimits& limits = limits_[address.is_ip4];
  const bool is_full = free_.empty() && n_slots_ == capacity_;
  if ((n_of_[address.is_ip4] >= limits.max_number &&
       !evict_one(w, address.is_ip4, limits.can_evict)) ||
      (is_full && free_.empty() && !evict_one(w, std::nullopt, limits.can_evict))) {
    count(w, kTableFull);
    return nullptr;
  }
  const uint32_t adjacency =
      state_.adjacencies.add({.kind = AdjacencyKind::kIncomplete, .tx_if = interface}, w.now);
  if (adjacency == kNoIndex) {
    count(w, kTableFull);
    return nullptr;
  }
  uint32_t index;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else {
    index = n_slots_++;
    if (index % kChunk == 0) chunks_.push_back(std::make_unique<Neighbor[]>(kChunk));
    is_live_.push_back(false);
  }
  Neighbor& n = chunks_[index / kChunk][index % kChunk];
  n = {};
  n.timer.fired = timer_fired;
  n.interface = interface;
  n.address = address;
  n.index = index;
  n.adjacency = adjacency;
  n.confirmed = n.used = w.now;
  if (index_put(n) != Status::kOk) {
    state_.adjacencies.remove(adjacency, w.now);
    free_.push_back(index);
    count(w, kTableFull);
    return nullptr;
  }
  is_live_[index] = true;
  ++n_of_[address.is_ip4];
  publish(n);
  count(w, kCreated);
  return &n;
}

// The unresolved neighbour that has been tried longest makes room, else, where that is allowed, the
// learned one that was confirmed longest ago; of those that it looks at, a bounded number. That is
// enough when it matters, because a scan fills the table with unresolved ones.
bool NeighborTable::evict_one(Worker& w, std::optional<bool> family, bool may_be_learned) {
  constexpr uint32_t kLook = 64;
  const auto rank = [](const Neighbor& n) {
    return std::pair(n.state != NeighborState::kIncomplete, n.confirmed);
  };
  Neighbor* victim = nullptr;
  for (uint32_t i = 0; i < kLook && i < n_slots_; ++i) {
    Neighbor* n = by_index(evict_at_);
    evict_at_ = evict_at_ + 1 == n_slots_ ? 0 : evict_at_ + 1;
    if (!n || n->route_references != 0 || n->state == NeighborState::kStatic ||
        (family && n->address.is_ip4 != *family) ||
        (n->state != NeighborState::kIncomplete && !may_be_learned))
      continue;
    if (!victim || rank(*n) < rank(*victim)) victim = n;
  }
  if (!victim) return false;
  fail_pending(w, *victim);
  destroy(w, *victim);
  return true;
}

void NeighborTable::destroy(Worker& w, Neighbor& n) noexcept {
  w.timer_stop(n.timer);
  index_del(n);
  state_.adjacencies.remove(n.adjacency, w.now);
  is_live_[n.index] = false;
  --n_of_[n.address.is_ip4];
  free_.push_back(n.index);
  state_.changed();  // routes cached with this adjacency are looked up again
  count(w, kForgotten);
}

void NeighborTable::publish(Neighbor& n) noexcept {
  const Interface* f = state_.interfaces.find(n.interface);
  const bool is_known = n.state != NeighborState::kIncomplete;
  Adjacency a{.kind = is_known ? AdjacencyKind::kRewrite : AdjacencyKind::kIncomplete,
              .rewrite_length = is_known ? uint8_t{sizeof(EthernetHeader)} : uint8_t{0},
              .tx_if = n.interface,
              .ip4_mtu = static_cast<uint16_t>(f ? f->mtu_of(true) : 0),
              .ip6_mtu = static_cast<uint16_t>(f ? f->mtu_of(false) : 0),
              .neighbor = n.index};
  if (is_known && f)
    a.rewrite = {n.mac, f->mac, Be16(n.address.is_ip4 ? kEtherTypeIp4 : kEtherTypeIp6)};
  state_.adjacencies.update(n.adjacency, a);
}

// --- Waiting packets -----------------------------------------------------------------------------

namespace {
uint32_t count_buffers(const Buffer& packet) noexcept {
  uint32_t n = 0;
  for (const Buffer* b = &packet; b; b = b->next) ++n;
  return n;
}
}  // namespace

void NeighborTable::add_pending(Neighbor& n, Buffer* packet) noexcept {
  if (n.last_pending)
    std::memcpy(n.last_pending->opaque, &packet, sizeof packet);
  else
    n.first_pending = packet;
  n.last_pending = packet;
  ++n.n_pending;
  const uint32_t buffers = count_buffers(*packet);
  n.n_buffers += buffers;
  n_buffers_ += buffers;
}

Buffer* NeighborTable::take_pending(Neighbor& n) noexcept {
  if (n.n_pending == 0) return nullptr;
  Buffer* const packet = n.first_pending;
  const uint32_t buffers = count_buffers(*packet);
  n.n_buffers -= buffers;
  n_buffers_ -= buffers;
  if (--n.n_pending == 0)
    n.first_pending = n.last_pending = nullptr;
  else
    std::memcpy(&n.first_pending, packet->opaque, sizeof n.first_pending);
  return packet;
}

void NeighborTable::wait(Worker& w, Neighbor& n, Buffer* packet) noexcept {
  packet->adjacency = n.adjacency;
  if (n.state != NeighborState::kIncomplete) {  // answered while the packet was on its way here
    w.enqueue_to_node(n.address.is_ip4 ? state_.nodes.ip4_rewrite : state_.nodes.ip6_rewrite,
                      packet);
    return;
  }
  const bool are_many = n_buffers_ >= kManyBuffers;
  const uint32_t most =
      std::min(state_.config.pending_per_neighbor, are_many ? kFewPending : Neighbor::kMaxPending);
  const uint32_t most_buffers = are_many ? kFewBuffers : Neighbor::kMaxBuffers;
  const uint32_t buffers = count_buffers(*packet);
  // The newest one waits whatever it consists of.
  while (n.n_pending >= most || (n.n_pending != 0 && n.n_buffers + buffers > most_buffers)) {
    w.free(take_pending(n));
    count(w, kQueueOverflow);
  }
  add_pending(n, packet);
  if (!n.timer.is_running()) {  // a gateway that did not answer before: try again
    n.requests = 0;
    send_request(w, n);
  }
}

void NeighborTable::send_pending(Worker& w, Neighbor& n) noexcept {
  const NodeId next = n.address.is_ip4 ? state_.nodes.ip4_rewrite : state_.nodes.ip6_rewrite;
  while (Buffer* b = take_pending(n)) w.enqueue_to_node(next, b);
}

// RFC 1812 section 5.2.7.1 and RFC 4861 section 7.2.2: the senders are told that the host cannot be
// reached. icmp-error leaves out what this host sent itself.
void NeighborTable::fail_pending(Worker& w, Neighbor& n) noexcept {
  const bool is_ip4 = n.address.is_ip4;
  if (n.n_pending) count(w, kUnresolved, n.n_pending);
  while (Buffer* b = take_pending(n)) {
    request_icmp_error(*b, is_ip4 ? kIcmp4Unreachable : kIcmp6Unreachable,
                       is_ip4 ? kIcmp4HostUnreachable : kIcmp6AddressUnreachable);
    w.enqueue_to_node(is_ip4 ? state_.nodes.icmp4_error : state_.nodes.icmp6_error, b);
  }
}

// --- State machine -------------------------------------------------------------------------------

Neighbor* NeighborTable::resolve(Worker& w, IfIndex interface, const IpAddress& address) {
  if (Neighbor* n = find(interface, address)) return n;
  Neighbor* n = create(w, interface, address);
  if (n) send_request(w, *n);
  return n;
}

void NeighborTable::send_request(Worker& w, Neighbor& n) noexcept {
  const MacAddress* unicast = n.state == NeighborState::kProbe ? &n.mac : nullptr;
  ++n.requests;
  w.timer_start_in(n.timer, kRetransTimer);
  const bool is_sent = n.address.is_ip4
                           ? send_arp_request(w, n.interface, n.address.ip4(), unicast)
                           : send_neighbor_solicitation(w, n.interface, n.address.ip6(), unicast);
  count(w, is_sent ? kRequestSent : kNoBuffer);
}

void NeighborTable::timer_fired(Worker& w, Timer& t) noexcept {
  net_state(w).neighbors.on_timer(w, LOOM_TIMER_OWNER(Neighbor, timer, t));
}

void NeighborTable::on_timer(Worker& w, Neighbor& n) noexcept {
  const bool was_used = state_.adjacencies.take_used(n.adjacency);
  if (was_used) n.used = w.now;
  switch (n.state) {
    case NeighborState::kIncomplete:
      if (n.requests < kMaxRequests) return send_request(w, n);
      fail_pending(w, n);
      if (n.route_references == 0) destroy(w, n);
      return;  // a gateway stays, and is asked again when the next packet comes
    case NeighborState::kProbe:
      if (n.requests < kMaxRequests) return send_request(w, n);
      set_unresolved(w, n);
      if (n.route_references == 0) destroy(w, n);
      return;
    case NeighborState::kReachable:
      n.state = NeighborState::kStale;
      w.timer_start_in(n.timer, kStaleCheck);
      if (!was_used) return;
      [[fallthrough]];
    case NeighborState::kStale:
      if (was_used) {
        n.state = NeighborState::kProbe;
        n.requests = 0;
        return send_request(w, n);
      }
      if (const TimeNs most = limits_[n.address.is_ip4].max_age;
          most && w.now - n.used >= most && n.route_references == 0)
        return destroy(w, n);
      w.timer_start_in(n.timer, kStaleCheck);
      return;
    case NeighborState::kStatic:
      return;
  }
}

void NeighborTable::set_unresolved(Worker& w, Neighbor& n) noexcept {
  w.timer_stop(n.timer);
  n.state = NeighborState::kIncomplete;
  n.requests = 0;
  publish(n);
  state_.changed();
}

void NeighborTable::set_mac(Worker& w, Neighbor& n, const MacAddress& mac) noexcept {
  const bool was_known = n.state != NeighborState::kIncomplete;
  if (was_known && n.mac != mac) count(w, kMacChanged);
  n.mac = mac;
}

void NeighborTable::learn(Worker& w, const NeighborNews& news) {
  Neighbor* n = find(news.interface, news.address);
  if (!n) {
    if (!news.may_create || !(n = create(w, news.interface, news.address))) return;
    n->mac = news.mac;
    n->state = NeighborState::kStale;
    w.timer_start_in(n->timer, kStaleCheck);
    publish(*n);
    state_.changed();
    tell(w, *n);
    return;
  }
  if (n->state == NeighborState::kStatic) return;
  const bool was_incomplete = n->state == NeighborState::kIncomplete;
  const bool is_new_mac = was_incomplete || n->mac != news.mac;
  if (is_new_mac && !was_incomplete && !news.overrides) {
    // RFC 4861 section 7.2.5, (I): the old address is doubted, not replaced.
    count(w, kNotOverridden);
    if (n->state == NeighborState::kReachable) {
      n->state = NeighborState::kStale;
      w.timer_start_in(n->timer, kStaleCheck);
    }
    return;
  }
  set_mac(w, *n, news.mac);
  if (news.is_solicited) {
    n->state = NeighborState::kReachable;
    n->confirmed = w.now;
    w.timer_start_in(n->timer, kReachableTime);
  } else if (is_new_mac) {
    n->state = NeighborState::kStale;
    w.timer_start_in(n->timer, kStaleCheck);
  }
  // RFC 4861 section 7.3.1: what repeats the known address unasked confirms nothing.
  if (news.is_solicited || is_new_mac) n->requests = 0;
  if (is_new_mac) {
    publish(*n);
    tell(w, *n);
  }
  if (was_incomplete) {
    state_.changed();
    send_pending(w, *n);
  }
}

Result<void> NeighborTable::configure(Worker& w, IfIndex interface, const IpAddress& address,
                                      const MacAddress& mac, bool is_static) {
  Neighbor* n = find(interface, address);
  if (!n) n = create(w, interface, address);
  if (!n)
    return error(Status::kNoMemory, "the table of " +
                                        std::to_string(limits_[address.is_ip4].max_number) +
                                        " neighbours is full");
  const bool is_news = n->state == NeighborState::kIncomplete || n->mac != mac;
  w.timer_stop(n->timer);
  set_mac(w, *n, mac);
  n->state = is_static ? NeighborState::kStatic : NeighborState::kReachable;
  n->confirmed = w.now;
  n->requests = 0;
  if (!is_static) w.timer_start_in(n->timer, kReachableTime);
  publish(*n);
  state_.changed();
  if (is_news) tell(w, *n);
  send_pending(w, *n);
  return {};
}

Status NeighborTable::remove(Worker& w, IfIndex interface, const IpAddress& address) {
  Neighbor* n = find(interface, address);
  if (!n) return Status::kNotFound;
  forget(w, *n);
  return Status::kOk;
}

void NeighborTable::forget(Worker& w, Neighbor& n) noexcept {
  fail_pending(w, n);
  set_unresolved(w, n);
  if (n.route_references == 0) destroy(w, n);
}

uint32_t NeighborTable::remove_some(Worker& w, uint32_t from, uint32_t most, IfIndex interface,
                                    bool is_ip4) {
  const uint32_t end = n_slots_ - std::min(n_slots_, from) > most ? from + most : n_slots_;
  for (uint32_t i = from; i < end; ++i) {
    Neighbor* n = by_index(i);
    if (n && n->address.is_ip4 == is_ip4 && (interface == kNoIndex || n->interface == interface))
      forget(w, *n);
  }
  return end == n_slots_ ? kNoIndex : end;
}

uint32_t NeighborTable::hold(Worker& w, IfIndex interface, const IpAddress& address) {
  Neighbor* n = find(interface, address);
  if (!n) n = create(w, interface, address);  // asked when the first packet comes
  if (!n) return kNoIndex;
  ++n->route_references;
  return n->adjacency;
}

void NeighborTable::release(Worker& w, IfIndex interface, const IpAddress& address) {
  Neighbor* n = find(interface, address);
  if (!n || n->route_references == 0 || --n->route_references) return;
  if (n->state == NeighborState::kIncomplete && !n->timer.is_running()) destroy(w, *n);
}

void NeighborTable::forget_interface(Worker& w, IfIndex interface, bool went_down) {
  for (uint32_t i = 0; i < n_slots_; ++i) {
    Neighbor* n = by_index(i);
    if (!n || n->interface != interface) continue;
    if (went_down && n->state == NeighborState::kStatic) continue;
    fail_pending(w, *n);
    set_unresolved(w, *n);
    if (n->route_references == 0 || !went_down) destroy(w, *n);
  }
}

void NeighborTable::flush(Worker& w0) {
  for (uint32_t i = 0; i < n_slots_; ++i) {
    Neighbor* n = by_index(i);
    if (!n) continue;
    w0.timer_stop(n->timer);
    while (Buffer* b = take_pending(*n)) w0.free(b);
  }
}

void NeighborTable::refresh(IfIndex interface) noexcept {
  for (uint32_t i = 0; i < n_slots_; ++i)
    if (Neighbor* n = by_index(i); n && n->interface == interface) publish(*n);
}

std::vector<NeighborListing> NeighborTable::list(TimeNs now, uint32_t& from, uint32_t most) const {
  std::vector<NeighborListing> some;
  const uint32_t end = n_slots_ - std::min(n_slots_, from) > most ? from + most : n_slots_;
  for (uint32_t i = from; i < end; ++i) {
    if (!is_live_[i]) continue;
    const Neighbor& n = chunks_[i / kChunk][i % kChunk];
    some.push_back({n.interface, n.address, n.mac, n.state, now - n.confirmed});
  }
  from = end == n_slots_ ? kNoIndex : end;
  return some;
}

void NeighborTable::tell(Worker& w, const Neighbor& n) {
  if (!state_.neighbor_news->tell({n.interface, n.address, n.mac, n.state, w.now - n.confirmed}))
      [[unlikely]]
    count(w, kNewsLost);
}

void NeighborTable::count(Worker& w, Event e, uint32_t n) noexcept {
  w.node_runtime(state_.nodes.neighbor_table).count(e, n);
}

}  // namespace loom
