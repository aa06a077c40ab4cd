// FlowTables: connections that share their local end, and have one peer (UDP). As on Linux what
// comes leads to the one that connected last, and when that goes, to the one before. Each of them
// is on a worker of its own choice, so who goes asks here who is next.
//
// Threads: any worker, once for each connect and close.
#include <algorithm>
#include <cstring>
#include <new>

#include "session/flow_tables.h"
#include "session/flow_value.h"

namespace loom::session {
namespace {

template <class Key>
std::array<uint64_t, 6> shared_key_of(const Key& key) noexcept {
  static_assert(sizeof key == 16 || sizeof key == 48);
  std::array<uint64_t, 6> k{};
  std::memcpy(k.data(), &key, sizeof key);
  if (sizeof key == 16) k[5] = 1;  // IPv6's have nothing there
  return k;
}

}  // namespace

// Those that are bound where it would be, if it had no peer.
bool FlowTables::agrees_with_bound(const Endpoints& e, uint8_t protocol, uint64_t self,
                                   const PortShare& share) const noexcept {
  const auto agrees = [&](const auto& table, const auto& key) {
    using Table = std::remove_cvref_t<decltype(table)>;
    for (const bool any : {false, true}) {
      uint64_t value;
      if (!table.find(Table::key_of(listener_key(key, any)), value)) continue;
      const FlowMatch m = unpack(value);
      if (m.kind != kGroup) return value == self;
      const std::lock_guard lock(groups_.mutex);
      if (groups_.contains(m.conn, self)) return true;
      if (!groups_.agrees(m.conn, share)) return false;
    }
    return true;
  };
  return e.local.is_ip4 ? agrees(*listeners4_, key4_of(e, protocol))
                        : agrees(*listeners6_, key6_of(e, protocol));
}

template <class Table, class Key>
Status FlowTables::share_key(Table& table, const Table& half_open, const Key& key,
                             uint64_t value) noexcept {
  const auto k = Table::key_of(key);
  uint64_t latest;
  if (half_open.size() != 0 && half_open.find(k, latest)) return Status::kInUse;
  if (!table.find(k, latest)) {
    const Status s = table.add_if_absent(k, value);
    return s == Status::kExists ? Status::kInUse : s;
  }
  try {
    const auto [behind, is_new] = shared_.try_emplace(shared_key_of(key));
    try {
      behind->second.push_back(latest);
    } catch (const std::bad_alloc&) {
      if (is_new) shared_.erase(behind);
      return Status::kNoMemory;
    }
  } catch (const std::bad_alloc&) {
    return Status::kNoMemory;
  }
  return table.add(k, value);  // its key is there, so no memory is needed
}

// True: nobody has it any more.
template <class Table, class Key>
bool FlowTables::unshare_key(Table& table, Table& half_open, const Key& key, uint8_t worker,
                             ConnId conn) noexcept {
  const auto k = Table::key_of(key);
  const uint64_t value = pack(conn, worker, FlowKind::kEstablished);
  uint64_t begun;  // by open()
  if (half_open.size() != 0 && half_open.find(k, begun) &&
      begun == pack(conn, worker, FlowKind::kHalfOpen))
    return half_open.del(k) == Status::kOk;
  const auto behind = shared_.find(shared_key_of(key));
  uint64_t latest;
  const bool is_latest = table.find(k, latest) && latest == value;
  if (behind == shared_.end()) {
    if (is_latest) (void)table.del(k);
    return is_latest;
  }
  std::vector<uint64_t>& others = behind->second;
  if (is_latest) {
    (void)table.add(k, others.back());
    others.pop_back();
  } else {
    std::erase(others, value);
  }
  if (others.empty()) shared_.erase(behind);
  return false;
}

Status FlowTables::share(const Endpoints& e, uint8_t protocol, uint8_t worker, ConnId conn,
                         const PortShare& share) noexcept {
  if (!agrees_with_bound(e, protocol, pack(conn, worker, FlowKind::kBound), share))
    return Status::kInUse;
  const uint64_t value = pack(conn, worker, FlowKind::kEstablished);
  const std::lock_guard lock(shared_mutex_);
  return e.local.is_ip4 ? share_key(*established4_, *half_open4_, key4_of(e, protocol), value)
                        : share_key(*established6_, *half_open6_, key6_of(e, protocol), value);
}

void FlowTables::unshare(const Endpoints& e, uint8_t protocol, uint8_t worker, ConnId conn,
                         TimeNs now) noexcept {
  bool is_free;
  {
    const std::lock_guard lock(shared_mutex_);
    is_free = e.local.is_ip4
                  ? unshare_key(*established4_, *half_open4_, key4_of(e, protocol), worker, conn)
                  : unshare_key(*established6_, *half_open6_, key6_of(e, protocol), worker, conn);
  }
  if (is_free && shortage_.is_any(now) && may_choose(e.local_port)) [[unlikely]]
    shortage_.freed(destination_of(e, protocol), e.local_port, now);
}

}  // namespace loom::session
