#include "session/flow_tables.h"

#include <algorithm>

#include "session/flow_value.h"

namespace loom::session {
namespace {

constexpr std::size_t kBatch = kFrameSize;

// Ports that are looked at before it is worth a note that all are.
constexpr uint32_t kFewPorts = 64;

}  // namespace

FlowKey4 key4_of(const Endpoints& e, uint8_t protocol) noexcept {
  return {e.local.ip4(),
          e.remote.ip4(),
          Be16(e.local_port),
          Be16(e.remote_port),
          protocol,
          0,
          static_cast<uint16_t>(e.fib_index)};
}

FlowKey6 key6_of(const Endpoints& e, uint8_t protocol) noexcept {
  return {e.local.ip6(),
          e.remote.ip6(),
          Be16(e.local_port),
          Be16(e.remote_port),
          protocol,
          0,
          static_cast<uint16_t>(e.fib_index),
          0};
}

template <class Key>
auto& FlowTables::established() const noexcept {
  if constexpr (sizeof(Key) == 16)
    return *established4_;
  else
    return *established6_;
}
template <class Key>
auto& FlowTables::half_open_table() const noexcept {
  if constexpr (sizeof(Key) == 16)
    return *half_open4_;
  else
    return *half_open6_;
}
template <class Key>
auto& FlowTables::listeners() const noexcept {
  if constexpr (sizeof(Key) == 16)
    return *listeners4_;
  else
    return *listeners6_;
}

Result<std::unique_ptr<FlowTables>> FlowTables::create(const SessionConfig& c) {
  std::unique_ptr<FlowTables> t(new FlowTables);
  const auto make = [](auto& table, std::size_t buckets) -> Result<void> {
    using Table = typename std::remove_reference_t<decltype(table)>::element_type;
    auto made = Table::create({.buckets = buckets, .touch = true});
    if (!made) return made.error();
    table = std::move(*made);
    return {};
  };
  constexpr std::size_t kListenerBuckets = 256;
  for (const auto& r :
       {make(t->established4_, c.v4_session_buckets), make(t->established6_, c.v6_session_buckets),
        make(t->half_open4_, c.v4_halfopen_buckets), make(t->half_open6_, c.v6_halfopen_buckets),
        make(t->listeners4_, kListenerBuckets), make(t->listeners6_, kListenerBuckets)})
    if (!r) return r.error();
  t->port_secret_ = HashSecret::random();
  t->min_port_ = c.min_src_port;
  t->max_port_ = c.max_src_port;
  return t;
}

void FlowTables::give_back() noexcept {
  for (Table4* t : {established4_.get(), half_open4_.get(), listeners4_.get()}) t->give_back();
  for (Table6* t : {established6_.get(), half_open6_.get(), listeners6_.get()}) t->give_back();
}

void FlowTables::fetch_ahead() noexcept {
  const auto fetch = [](auto&... tables) {
    ((tables->wants_fetch() ? tables->fetch_ahead() : void()), ...);
  };
  fetch(established4_, established6_, half_open4_, half_open6_);
}

// What is found in the listeners' tables, or the one of a group of them.
FlowMatch FlowTables::member(const FlowMatch& found, uint64_t hash) const noexcept {
  if (found.kind != kGroup) return found;
  const uint64_t value = groups_.pick(found.conn, hash);
  return value ? unpack(value) : FlowMatch{};
}

// Three passes, so that the bucket and page misses of a frame overlap.
template <class Key>
void FlowTables::lookup(std::span<const Key> keys, FlowMatch* out) const noexcept {
  const auto& table = established<Key>();
  using Table = std::remove_cvref_t<decltype(table)>;
  uint64_t hashes[kBatch];
  while (!keys.empty()) {
    const std::size_t n = std::min(keys.size(), kBatch);
    for (std::size_t i = 0; i < n; ++i) {
      hashes[i] = table.hash(Table::key_of(keys[i]));
      table.prefetch_bucket(hashes[i]);
    }
    for (std::size_t i = 0; i < n; ++i) table.prefetch_page(hashes[i]);
    for (std::size_t i = 0; i < n; ++i) {
      uint64_t value;
      const auto key = Table::key_of(keys[i]);
      if (table.find_with_hash(key, hashes[i], value) ||
          (half_open_table<Key>().size() != 0 && half_open_table<Key>().find(key, value)) ||
          // Once more: another worker may have moved it from there to here between the two looks.
          table.find_with_hash(key, hashes[i], value) ||
          listeners<Key>().find(Table::key_of(listener_key(keys[i], false)), value) ||
          listeners<Key>().find(Table::key_of(listener_key(keys[i], true)), value) ||
          // And from a bound entry to one with a peer.
          table.find_with_hash(key, hashes[i], value))
        out[i] = unpack(value);
      else
        out[i] = {};
      if (out[i].kind == kGroup) [[unlikely]]
        out[i] = member(out[i], hashes[i] >> 32);
    }
    keys = keys.subspan(n);
    out += n;
  }
}
template void FlowTables::lookup(std::span<const FlowKey4>, FlowMatch*) const noexcept;
template void FlowTables::lookup(std::span<const FlowKey6>, FlowMatch*) const noexcept;

template <class Key>
uint32_t FlowTables::spread(const Key& key, uint32_t n) const noexcept {
  const auto& table = established<Key>();
  const uint64_t hash = table.hash(std::remove_cvref_t<decltype(table)>::key_of(key));
  return static_cast<uint32_t>((hash >> 32) * n >> 32);
}
template uint32_t FlowTables::spread(const FlowKey4&, uint32_t) const noexcept;
template uint32_t FlowTables::spread(const FlowKey6&, uint32_t) const noexcept;

template <class Key>
Status FlowTables::add_key(const Key& key, FlowKind kind, uint64_t value) noexcept {
  using Table = std::remove_cvref_t<decltype(established<Key>())>;
  const auto k = Table::key_of(key);
  if (kind == FlowKind::kHalfOpen) {
    if (established<Key>().find(k)) return Status::kExists;
    return half_open_table<Key>().add_if_absent(k, value);
  }
  const Status s = established<Key>().add_if_absent(k, value);
  // Only now: between the two a packet finds either entry, and both name the same connection
  // (lookup() looks here again).
  if (s == Status::kOk && half_open_table<Key>().size() != 0) (void)half_open_table<Key>().del(k);
  return s;
}

template <class Key>
void FlowTables::del_key(const Key& key) noexcept {
  using Table = std::remove_cvref_t<decltype(established<Key>())>;
  const auto k = Table::key_of(key);
  if (established<Key>().del(k) != Status::kOk) (void)half_open_table<Key>().del(k);
}

Status FlowTables::add(const Endpoints& e, uint8_t protocol, FlowKind kind, uint8_t worker,
                       ConnId conn) noexcept {
  const uint64_t value = pack(conn, worker, kind);
  return e.local.is_ip4 ? add_key(key4_of(e, protocol), kind, value)
                        : add_key(key6_of(e, protocol), kind, value);
}

void FlowTables::del(const Endpoints& e, uint8_t protocol, TimeNs now) noexcept {
  if (e.local.is_ip4)
    del_key(key4_of(e, protocol));
  else
    del_key(key6_of(e, protocol));
  if (shortage_.is_any(now) && may_choose(e.local_port)) [[unlikely]]
    shortage_.freed(destination_of(e, protocol), e.local_port, now);
}

uint64_t FlowTables::destination_of(const Endpoints& e, uint8_t protocol) const noexcept {
  FlowKey6 key = key6_of(e, protocol);
  key.local_port = {};
  return keyed_hash(Table6::key_of(key), port_secret_);
}

void FlowTables::move(const Endpoints& e, uint8_t protocol, uint8_t worker, ConnId conn) noexcept {
  const uint64_t value = pack(conn, worker, FlowKind::kEstablished);
  // Its key is there, so no memory is needed.
  if (e.local.is_ip4)
    (void)established4_->add(Table4::key_of(key4_of(e, protocol)), value);
  else
    (void)established6_->add(Table6::key_of(key6_of(e, protocol)), value);
}

// The end that a socket is bound to is its own, whoever is bound to any address beside it. One that
// is bound to any has been found to agree with those that share the address, if they are of its
// namespace.
bool FlowTables::bound_by_another(const Endpoints& e, uint8_t protocol, uint8_t worker,
                                  ConnId conn) const noexcept {
  const uint64_t self = pack(conn, worker, FlowKind::kBound);
  const auto is_another = [&](const auto& table, const auto& key) {
    using Table = std::remove_cvref_t<decltype(table)>;
    PortGroups::Ref others = PortGroups::kNone;
    for (const bool any : {false, true}) {
      uint64_t value;
      if (!table.find(Table::key_of(listener_key(key, any)), value)) continue;
      const FlowMatch m = unpack(value);
      if (m.kind == FlowKind::kBound) return value != self || others != PortGroups::kNone;
      // All of a group are bound, or all listen; beside listeners there is room for a peer's.
      if (m.kind != kGroup || member(m, 0).kind == FlowKind::kListener) continue;
      const std::lock_guard lock(groups_.mutex);
      if (!groups_.contains(m.conn, self))
        others = m.conn;
      else
        return others != PortGroups::kNone && !groups_.are_of_one_namespace(m.conn, others);
    }
    return others != PortGroups::kNone;
  };
  return e.local.is_ip4 ? is_another(*listeners4_, key4_of(e, protocol))
                        : is_another(*listeners6_, key6_of(e, protocol));
}

Status FlowTables::open(Endpoints& e, uint8_t protocol, uint8_t worker, ConnId conn,
                        uint32_t& counter, TimeNs now) noexcept {
  const auto take = [&](uint16_t port) {
    e.local_port = port;
    if (bound_by_another(e, protocol, worker, conn)) return Status::kExists;
    return add(e, protocol, FlowKind::kHalfOpen, worker, conn);
  };
  if (e.local_port != 0) {
    const Status s = take(e.local_port);
    return s == Status::kExists ? Status::kInUse : s;
  }
  const uint64_t destination = destination_of(e, protocol);
  // kExists: there may be others.
  const auto take_freed = [&] {
    using Known = PortShortage::Known;
    Known known = Known::kNothing;
    uint16_t port = 0;
    while (shortage_.is_any(now) &&
           (known = shortage_.take(destination, port, now)) == Known::kPort) {
      const Status s = take(port);
      if (s == Status::kExists) continue;
      if (s != Status::kOk) shortage_.freed(destination, port, now);
      return s;
    }
    return known == Known::kNoPort ? Status::kInUse : Status::kExists;
  };
  const uint32_t range = static_cast<uint32_t>(max_port_) - min_port_ + 1;
  const auto look_at = [&](uint32_t n) {
    Status s = Status::kExists;
    while (n-- != 0 && s == Status::kExists)
      s = take(static_cast<uint16_t>(min_port_ + (destination + counter++) % range));
    return s;
  };
  Status s = take_freed();
  if (s == Status::kExists) s = look_at(std::min(range, kFewPorts));
  if (s == Status::kExists) {
    const uint64_t ticket = shortage_.begin(destination, protocol, now);
    s = look_at(range);
    if (s == Status::kExists) {
      shortage_.confirm(destination, ticket, now);
      s = take_freed();
    }
  }
  if (s == Status::kExists) s = Status::kInUse;
  if (s == Status::kInUse) e.local_port = 0;
  return s;
}

Status FlowTables::add_local(const Endpoints& e, uint8_t protocol, bool dual_stack,
                             uint64_t value) noexcept {
  if (e.local.is_ip4)
    return listeners4_->add_if_absent(Table4::key_of(listener_key(key4_of(e, protocol), false)),
                                      value);
  const Status s =
      listeners6_->add_if_absent(Table6::key_of(listener_key(key6_of(e, protocol), false)), value);
  if (s != Status::kOk || !dual_stack) return s;
  const Status s4 =
      listeners4_->add_if_absent(Table4::key_of(listener_key(key4_of(e, protocol), true)), value);
  if (s4 != Status::kOk)
    (void)listeners6_->del(Table6::key_of(listener_key(key6_of(e, protocol), false)));
  return s4;
}

Status FlowTables::add_listener(const Endpoints& e, uint8_t protocol, bool dual_stack,
                                uint32_t listener) noexcept {
  const Status s = add_local(e, protocol, dual_stack, pack(listener, 0, FlowKind::kListener));
  return s == Status::kExists ? Status::kInUse : s;
}

template <class Add>
Status FlowTables::with_port(Endpoints& e, uint64_t start, Add&& add) noexcept {
  if (e.local_port != 0) {
    const Status s = add();
    return s == Status::kExists ? Status::kInUse : s;
  }
  const uint32_t range = static_cast<uint32_t>(max_port_) - min_port_ + 1;
  for (uint32_t tries = 0; tries < range; ++tries) {
    e.local_port = static_cast<uint16_t>(min_port_ + (start + tries) % range);
    const Status s = add();
    if (s != Status::kExists) return s;
  }
  e.local_port = 0;
  return Status::kInUse;
}

Status FlowTables::bind(Endpoints& e, uint8_t protocol, bool dual_stack, uint8_t worker,
                        ConnId conn, uint64_t start) noexcept {
  const uint64_t value = pack(conn, worker, FlowKind::kBound);
  return with_port(e, start, [&] { return add_local(e, protocol, dual_stack, value); });
}

// alone: a port that nobody has.
template <class Key>
Status FlowTables::join(const Key& key, uint64_t value, const PortShare& share,
                        bool alone) noexcept {
  auto& table = listeners<Key>();
  const auto k = std::remove_cvref_t<decltype(table)>::key_of(key);
  uint64_t found;
  if (table.find(k, found)) {
    const FlowMatch m = unpack(found);
    if (m.kind != kGroup || alone) return Status::kExists;
    // All of a group are bound, or all listen.
    if (member(m, 0).kind != unpack(value).kind) return Status::kExists;
    return groups_.join(m.conn, value, share);
  }
  const PortGroups::Ref group = groups_.create(value, share);
  if (group == PortGroups::kNone) return Status::kNoMemory;
  const Status s = table.add_if_absent(k, pack(group, 0, kGroup));
  if (s != Status::kOk) groups_.drop(group);
  return s;
}

template <class Key>
void FlowTables::leave(const Key& key, uint64_t value) noexcept {
  auto& table = listeners<Key>();
  const auto k = std::remove_cvref_t<decltype(table)>::key_of(key);
  uint64_t found;
  if (!table.find(k, found)) return;
  const FlowMatch m = unpack(found);
  if (m.kind != kGroup || !groups_.leave(m.conn, value)) return;
  (void)table.del(k);
  groups_.drop(m.conn);
}

Status FlowTables::join_local(const Endpoints& e, uint8_t protocol, bool dual_stack, uint64_t value,
                              const PortShare& share, bool alone) noexcept {
  if (e.local.is_ip4) return join(listener_key(key4_of(e, protocol), false), value, share, alone);
  const FlowKey6 key = listener_key(key6_of(e, protocol), false);
  const Status s = join(key, value, share, alone);
  if (s != Status::kOk || !dual_stack) return s;
  const Status s4 = join(listener_key(key4_of(e, protocol), true), value, share, alone);
  if (s4 != Status::kOk) leave(key, value);
  return s4;
}

Status FlowTables::bind_shared(Endpoints& e, uint8_t protocol, bool dual_stack, uint8_t worker,
                               ConnId conn, const PortShare& share, uint64_t start) noexcept {
  const uint64_t value = pack(conn, worker, FlowKind::kBound);
  const bool alone = e.local_port == 0;
  const std::lock_guard lock(groups_.mutex);
  return with_port(e, start,
                   [&] { return join_local(e, protocol, dual_stack, value, share, alone); });
}

void FlowTables::note_unbound(const Endpoints& e, uint8_t protocol, TimeNs now) noexcept {
  if (shortage_.is_any(now) && may_choose(e.local_port)) [[unlikely]]
    shortage_.freed_for_all(protocol, e.local_port, now);
}

void FlowTables::unbind(const Endpoints& e, uint8_t protocol, bool dual_stack,
                        TimeNs now) noexcept {
  del_listener(e, protocol, dual_stack);
  note_unbound(e, protocol, now);
}

void FlowTables::unbind_shared(const Endpoints& e, uint8_t protocol, bool dual_stack,
                               uint8_t worker, ConnId conn, TimeNs now) noexcept {
  leave_local(e, protocol, dual_stack, pack(conn, worker, FlowKind::kBound));
  note_unbound(e, protocol, now);
}

void FlowTables::leave_local(const Endpoints& e, uint8_t protocol, bool dual_stack,
                             uint64_t value) noexcept {
  const std::lock_guard lock(groups_.mutex);
  if (e.local.is_ip4) return leave(listener_key(key4_of(e, protocol), false), value);
  leave(listener_key(key6_of(e, protocol), false), value);
  if (dual_stack) leave(listener_key(key4_of(e, protocol), true), value);
}

Status FlowTables::add_shared_listener(const Endpoints& e, uint8_t protocol, bool dual_stack,
                                       uint32_t listener, const PortShare& share,
                                       bool alone) noexcept {
  const std::lock_guard lock(groups_.mutex);
  const Status s =
      join_local(e, protocol, dual_stack, pack(listener, 0, FlowKind::kListener), share, alone);
  return s == Status::kExists ? Status::kInUse : s;
}

void FlowTables::del_shared_listener(const Endpoints& e, uint8_t protocol, bool dual_stack,
                                     uint32_t listener) noexcept {
  leave_local(e, protocol, dual_stack, pack(listener, 0, FlowKind::kListener));
}

FlowMatch FlowTables::find_listener(const Endpoints& e, uint8_t protocol, uint64_t hash,
                                    Wanted wanted, const void* context) const noexcept {
  struct Asked {
    Wanted wanted;
    const void* context;
  };
  const Asked asked{wanted, context};
  const auto is_wanted = [](const void* a, uint64_t member) noexcept {
    const auto& asked = *static_cast<const Asked*>(a);
    return asked.wanted(asked.context, unpack(member));
  };
  const auto look = [&](const auto& table, const auto& key) {
    using Table = std::remove_cvref_t<decltype(table)>;
    for (const bool any : {false, true}) {
      uint64_t value;
      if (!table.find(Table::key_of(listener_key(key, any)), value)) continue;
      FlowMatch m = unpack(value);
      if (m.kind == kGroup) {
        value = groups_.pick_wanted(m.conn, hash, is_wanted, &asked);
        if (value != 0) return unpack(value);
      } else if (wanted(context, m)) {
        return m;
      }
    }
    return FlowMatch{};
  };
  return e.local.is_ip4 ? look(*listeners4_, key4_of(e, protocol))
                        : look(*listeners6_, key6_of(e, protocol));
}

void FlowTables::del_listener(const Endpoints& e, uint8_t protocol, bool dual_stack) noexcept {
  if (e.local.is_ip4) {
    (void)listeners4_->del(Table4::key_of(listener_key(key4_of(e, protocol), false)));
    return;
  }
  (void)listeners6_->del(Table6::key_of(listener_key(key6_of(e, protocol), false)));
  if (dual_stack) (void)listeners4_->del(Table4::key_of(listener_key(key4_of(e, protocol), true)));
}

}  // namespace loom::session
