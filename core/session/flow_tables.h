// The lookup tables: which connection or listener a packet belongs to. Readers on any worker take
// no lock. Private to core/session/.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <hostloom/session.h>

#include "hash/bihash.h"
#include "session/port_groups.h"
#include "session/port_shortage.h"
#include "session/session_config.h"

namespace loom::session {

class FlowTables {
 public:
  static Result<std::unique_ptr<FlowTables>> create(const SessionConfig&);

  // For each key: established, then half-open, then listener by address, then listener on any
  // address. A listener's match has its listener id in `conn`.
  template <class Key>
  void lookup(std::span<const Key> keys, FlowMatch* out) const noexcept;
  // A number below n that depends on the flow only, in a way that no peer knows.
  template <class Key>
  uint32_t spread(const Key&, uint32_t n) const noexcept;

  Status add(const Endpoints&, uint8_t protocol, FlowKind, uint8_t worker, ConnId) noexcept;
  void del(const Endpoints&, uint8_t protocol, TimeNs now) noexcept;
  // As add() of an established one, of a connection that shares its local end and may have the peer
  // of others that do (shared_flows.cc). kInUse: somebody has the end and does not agree.
  Status share(const Endpoints&, uint8_t protocol, uint8_t worker, ConnId,
               const PortShare&) noexcept;
  void unshare(const Endpoints&, uint8_t protocol, uint8_t worker, ConnId, TimeNs now) noexcept;
  // Of an established one.
  void move(const Endpoints&, uint8_t protocol, uint8_t worker, ConnId) noexcept;
  // Picks a free local port for `e` when it has none and adds the half-open entry (RFC 6056
  // section 3.3.3: a keyed hash of the addresses and the remote port gives the start, a counter the
  // step). A port that another connection has bound is in use.
  Status open(Endpoints& e, uint8_t protocol, uint8_t worker, ConnId, uint32_t& counter,
              TimeNs now) noexcept;

  // Listeners, which have a port. v6only false with a wildcard IPv6 address also takes IPv4.
  Status add_listener(const Endpoints&, uint8_t protocol, bool dual_stack,
                      uint32_t listener) noexcept;
  void del_listener(const Endpoints&, uint8_t protocol, bool dual_stack) noexcept;
  // The same, of one that shares its place with others that agree to it (port_groups.h). `alone`:
  // only where nobody is. kInUse: not all agree.
  Status add_shared_listener(const Endpoints&, uint8_t protocol, bool dual_stack, uint32_t listener,
                             const PortShare&, bool alone) noexcept;
  void del_shared_listener(const Endpoints&, uint8_t protocol, bool dual_stack,
                           uint32_t listener) noexcept;
  // What listens or is bound at a local end, alone or as the one of several that a flow of that
  // hash leads to: the first that `wanted`, given `context`, says yes to, by address and then on
  // any.
  using Wanted = bool (*)(const void* context, const FlowMatch&) noexcept;
  FlowMatch find_listener(const Endpoints&, uint8_t protocol, uint64_t hash, Wanted wanted,
                          const void* context) const noexcept;

  // A connection that takes what comes to its local end from anybody: among the listeners, and
  // found as they are, as kBound. Without a port it gets one, sought from `start` on (RFC 6056
  // section 3.3.1).
  Status bind(Endpoints&, uint8_t protocol, bool dual_stack, uint8_t worker, ConnId,
              uint64_t start) noexcept;
  void unbind(const Endpoints&, uint8_t protocol, bool dual_stack, TimeNs now) noexcept;
  // The same, of one that shares its end with others that agree to it (port_groups.h).
  Status bind_shared(Endpoints&, uint8_t protocol, bool dual_stack, uint8_t worker, ConnId,
                     const PortShare&, uint64_t start) noexcept;
  void unbind_shared(const Endpoints&, uint8_t protocol, bool dual_stack, uint8_t worker, ConnId,
                     TimeNs now) noexcept;

  std::size_t established() const noexcept { return established4_->size() + established6_->size(); }
  // Memory of tables that are empty goes back to the kernel. Control thread.
  void give_back() noexcept;
  // Whether fetch_ahead() has something to do. Any thread.
  bool wants_fetch() const noexcept {
    return established4_->wants_fetch() || established6_->wants_fetch() ||
           half_open4_->wants_fetch() || half_open6_->wants_fetch();
  }
  // Memory for what large tables will hold next, before a worker waits for it. Control thread.
  void fetch_ahead() noexcept;
  std::size_t half_open() const noexcept { return half_open4_->size() + half_open6_->size(); }

 private:
  FlowTables() = default;
  using Table4 = Bihash<16>;
  using Table6 = Bihash<48>;
  template <class Key>
  auto& established() const noexcept;
  template <class Key>
  auto& half_open_table() const noexcept;
  template <class Key>
  auto& listeners() const noexcept;
  template <class Key>
  Status add_key(const Key&, FlowKind, uint64_t value) noexcept;
  template <class Key>
  void del_key(const Key&) noexcept;
  Status add_local(const Endpoints&, uint8_t protocol, bool dual_stack, uint64_t value) noexcept;
  // `add(endpoints)` with the port that is asked for, or with each from `start` on.
  template <class Add>
  Status with_port(Endpoints&, uint64_t start, Add&& add) noexcept;
  // In a group, under its mutex.
  template <class Key>
  Status join(const Key&, uint64_t value, const PortShare&, bool alone) noexcept;
  template <class Key>
  void leave(const Key&, uint64_t value) noexcept;
  Status join_local(const Endpoints&, uint8_t protocol, bool dual_stack, uint64_t value,
                    const PortShare&, bool alone) noexcept;
  void leave_local(const Endpoints&, uint8_t protocol, bool dual_stack, uint64_t value) noexcept;
  FlowMatch member(const FlowMatch& found, uint64_t hash) const noexcept;
  bool bound_by_another(const Endpoints&, uint8_t protocol, uint8_t worker, ConnId) const noexcept;
  bool taken(const Endpoints&, uint8_t protocol) const noexcept;
  bool may_choose(uint16_t port) const noexcept { return port >= min_port_ && port <= max_port_; }
  void note_unbound(const Endpoints&, uint8_t protocol, TimeNs now) noexcept;
  bool agrees_with_bound(const Endpoints&, uint8_t protocol, uint64_t self,
                         const PortShare&) const noexcept;
  template <class Table, class Key>
  Status share_key(Table&, const Table& half_open, const Key&, uint64_t value) noexcept;
  template <class Table, class Key>
  bool unshare_key(Table&, Table& half_open, const Key&, uint8_t worker, ConnId) noexcept;
  // What a port is chosen for, as a number that no peer knows.
  uint64_t destination_of(const Endpoints&, uint8_t protocol) const noexcept;

  std::unique_ptr<Table4> established4_, half_open4_, listeners4_;
  std::unique_ptr<Table6> established6_, half_open6_, listeners6_;
  mutable PortGroups groups_;  // its mutex
  // Flows of several connections: those behind the latest, in the order in which they came.
  using SharedKey = std::array<uint64_t, 6>;
  std::mutex shared_mutex_;
  std::map<SharedKey, std::vector<uint64_t>> shared_;
  PortShortage shortage_;  // of open()
  HashSecret port_secret_;
  uint16_t min_port_ = 0, max_port_ = 0;  // that are chosen
};

FlowKey4 key4_of(const Endpoints&, uint8_t protocol) noexcept;
FlowKey6 key6_of(const Endpoints&, uint8_t protocol) noexcept;

}  // namespace loom::session
