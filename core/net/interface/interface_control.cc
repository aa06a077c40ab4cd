// Net's interface methods: coming, going and changing, on the control thread.
#include <algorithm>

#include <hostloom/driver.h>

#include "net/interface/control.h"
#include "net/net.h"
#include "net/reassembly/nodes.h"
#include "net/state.h"
#include "transport/ops_table.h"

namespace loom {
namespace {

constexpr uint32_t kMostMtu = 65'535;  // what a length field holds
// What tx-offload stands in for; interface-output sees to the IPv4 header's checksum.
constexpr uint32_t kEveryCap = kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;

Result<void> check(const NetState& s, const InterfaceConfig& c) {
  if (auto ok = check_name(s, c.name); !ok) return ok;
  if (!c.ops || !c.ops->tx || (!c.rx_queues.empty() && !c.ops->rx))
    return error(Status::kInvalid, "interface '" + c.name + "' has no driver");
  if (c.max_mtu > kMostMtu)
    return error(Status::kInvalid,
                 "max_mtu " + std::to_string(c.max_mtu) + " is above " + std::to_string(kMostMtu));
  if (c.mtu < kLeastMtu || c.mtu > c.max_mtu)
    return error(Status::kInvalid, "mtu " + std::to_string(c.mtu) + " is not from " +
                                       std::to_string(kLeastMtu) + " (RFC 791) to " +
                                       std::to_string(c.max_mtu));
  if (c.n_tx_queues == 0)
    return error(Status::kInvalid, "interface '" + c.name + "' has no tx queue");
  if (c.mac.is_multicast()) return error(Status::kInvalid, c.mac.str() + " is a group address");
  return {};
}

// The driver's own node: a name that its receive work is shown under, and its arcs.
Result<NodeId> input_node(Engine& engine, const char* name) {
  if (const NodeId id = engine.find_node(name); id != kNoNode) return id;
  return engine.add_node(
      {.name = name, .next = {"ethernet-input", "ip4-input", "ip6-input", "drop"}});
}

// What its routes and neighbours leave behind.
void remove_adjacencies(NetState& s, const Interface& f) {
  s.engine.run_on_worker(0, [&](Worker& w) {
    s.neighbors.forget_interface(w, f.index, /*went_down=*/false);
    for (const uint32_t a : {f.glean_adjacency, f.broadcast_adjacency.load(),
                             f.group4_adjacency.load(), f.group6_adjacency.load()})
      if (a != kNoIndex) s.adjacencies.remove(a, w.now);
    s.groups->forget(f.index);
    s.group_reports.forget(f.index);
  });
}

InterfaceListing listing_of(const Interface& f) {
  InterfaceListing l;
  l.index = f.index;
  l.name = f.name;
  l.driver = f.ops->name ? f.ops->name : "";
  l.mac = f.mac;
  l.mtu = f.packet_mtu();
  l.ip4_mtu = f.ip4_mtu.load();
  l.ip6_mtu = f.ip6_mtu.load();
  l.max_mtu = f.max_mtu;
  l.caps = f.caps;
  l.ip4_table = f.ip4_table;
  l.ip6_table = f.ip6_table;
  l.tag = f.tag;
  l.is_admin_up = f.is_admin_up.load();
  l.is_link_up = f.is_link_up.load();
  l.is_ethernet = f.is_ethernet;
  l.is_loopback = f.is_loopback;
  if (f.parent) l.parent = f.parent->index;
  l.sub_id = f.sub_id;
  l.vlan_id = f.vlan_id;
  if (f.lender) l.lender = f.lender->index;
  l.n_rx_queues = static_cast<uint16_t>(f.rx_queues.size());
  l.n_tx_queues = f.n_tx_queues;
  for (const auto& q : f.rx_queues) {
    l.rx_modes.push_back(q.mode.load());
    l.rx_workers.push_back(q.worker);
  }
  for (const auto& a : f.address_list->ip4) l.addresses.push_back(a.prefix);
  for (const auto& a : f.address_list->ip6) l.addresses.push_back(a.prefix);
  const auto read = [](const uint64_t& c) { return __atomic_load_n(&c, __ATOMIC_RELAXED); };
  for (const auto& c : f.counters) {
    for (auto [sum, one] : {std::pair(&l.rx, &c.rx), std::pair(&l.tx, &c.tx)}) {
      sum->packets += read(one->packets);
      sum->bytes += read(one->bytes);
      sum->drops += read(one->drops);
      sum->errors += read(one->errors);
    }
  }
  if (f.ops->describe) f.ops->describe(f.device, l.description);
  return l;
}

}  // namespace

void notify(const NetState& s, const Interface& f, bool is_deleted) {
  for (const auto& fn : s.listeners)
    fn(f.index, f.is_admin_up.load(), f.is_link_up.load(), is_deleted);
}

void state_changed(NetState& s, Interface& f, bool was_up) {
  const bool is_up = f.is_up();
  s.changed();
  if (was_up && !is_up)
    s.engine.run_on_worker(
        0, [&](Worker& w) { s.neighbors.forget_interface(w, f.index, /*went_down=*/true); });
  if (!was_up && is_up) {
    s.engine.run_on_worker(0, [&](Worker& w) { s.group_reports.came_up(w, f.index); });
    announce_addresses(s, f, /*is_new=*/true);
  }
  notify(s, f, false);
  for (Interface* sub : sub_interfaces_of(s, f)) {
    const bool sub_was_up = sub->is_up();
    if (sub->is_link_up.exchange(is_up) != is_up) state_changed(s, *sub, sub_was_up);
  }
}

Result<IfIndex> Net::add_interface(const InterfaceConfig& c) {
  NetState& s = *state_;
  if (auto ok = check(s, c); !ok) return ok.error();
  const auto ops = full_size_copy(*c.ops, offsetof(DriverOps, set_admin));
  if (!ops)
    return error(Status::kInvalid, "the driver of '" + c.name + "' has a table of " +
                                       std::to_string(c.ops->struct_size) +
                                       " bytes, which is not of any known version");
  NodeId node = kNoNode;
  if (!c.rx_queues.empty()) {
    const auto id = input_node(s.engine, c.input_node ? c.input_node : "device-input");
    if (!id) return id.error();
    node = *id;
  }
  auto owned = std::make_unique<Interface>();
  Interface& f = *owned;
  f.name = c.name;
  f.mac = c.mac == MacAddress{} ? made_up_mac() : c.mac;
  f.mtu = c.mtu;
  if (!may_have_ip6(f)) {
    f.is_ip6_off = true;
    f.ip6_lost = Ip6Lost::kUnused;
  }
  f.max_mtu = c.max_mtu;
  f.caps = c.caps;
  f.needs_offload = (c.caps & kEveryCap) != kEveryCap;
  f.is_ethernet = c.is_ethernet;
  f.own_ops = *ops;
  f.driver = c.ops;
  f.device = c.device;
  f.input_node = node;
  f.n_tx_queues = c.n_tx_queues;
  if (s.engine.n_workers() > c.n_tx_queues)
    f.tx_locks = std::make_unique<SpinLock[]>(c.n_tx_queues);
  f.rx_queues = std::vector<RxQueue>(c.rx_queues.size());
  for (std::size_t i = 0; i < c.rx_queues.size(); ++i)
    f.rx_queues[i].event_fd = c.rx_queues[i].event_fd;
  f.counters.resize(s.engine.n_workers());
  f.address_list = std::make_unique<AddressList>();
  f.addresses = f.address_list.get();
  if (s.interfaces.add(std::move(owned)) == kNoIndex)
    return error(Status::kNoMemory,
                 std::to_string(s.config.max_interfaces) + " interfaces are the most");
  add_adjacencies(s, f);
  place_queues(s, f);
  s.changed();
  notify(s, f, false);
  return f.index;
}

Status Net::remove_interface(IfIndex index) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return Status::kNotFound;
  for (const Interface* sub : sub_interfaces_of(s, *f)) (void)remove_interface(sub->index);
  take_from_parent(*f);
  for (const Interface* borrower : borrowers_of(s, *f)) (void)clear_unnumbered(borrower->index);
  if (f->lender) (void)clear_unnumbered(index);
  f->is_admin_up = false;
  while (!f->address_list->ip6.empty())
    (void)del_address(index, f->address_list->ip6.back().prefix);
  while (!f->address_list->ip4.empty())
    (void)del_address(index, f->address_list->ip4.back().prefix);
  for (const auto& source : s.routes.sources_by_interface(index)) (void)del_route(source.route);
  for (const auto& q : f->rx_queues)
    if (q.is_watched) s.engine.unwatch_fd(q.worker, q.event_fd);
  std::unique_ptr<Interface> owned;
  s.engine.with_barrier([&] {
    for (auto& w : s.workers)
      std::erase_if(w->inputs, [&](const auto& q) { return q->interface == f; });
    owned = s.interfaces.remove(index);
  });
  flush_reassembly(s, index);
  s.engine.features().forget_interface(index);
  remove_adjacencies(s, *owned);
  s.changed();
  notify(s, *owned, true);
  if (owned->ops->destroy) owned->ops->destroy(owned->device);
  return Status::kOk;
}

Status Net::set_link(IfIndex index, bool up) {
  Interface* f = state_->interfaces.find(index);
  if (!f) return Status::kNotFound;
  if (f->parent) return Status::kUnsupported;  // its link is its parent
  const bool was_up = f->is_up();
  if (f->is_link_up.exchange(up) != up) state_changed(*state_, *f, was_up);
  return Status::kOk;
}

Result<void> Net::set_admin(IfIndex index, bool up) {
  Interface* f = state_->interfaces.find(index);
  if (!f) return no_interface(index);
  const bool was_up = f->is_up();
  if (f->is_admin_up.load() == up) return {};
  Result<void> done;
  if (f->ops->set_admin)
    if (const Status status = f->ops->set_admin(f->device, up); status != Status::kOk)
      done = refused(status, *f, std::string(": ") + status_name(status));
  if (!done && done.error().code != Status::kInProgress) return done;
  f->is_admin_up = up;
  for (const auto& q : f->rx_queues) state_->engine.post(q.worker, [](Worker&) {});  // look again
  state_changed(*state_, *f, was_up);
  return done;
}

InterfaceCounters* Net::rx_counters(IfIndex index, uint32_t worker) {
  Interface* f = state_->interfaces.find(index);
  return f && worker < f->counters.size() ? &f->counters[worker].rx : nullptr;
}

void* Net::device(IfIndex index, const DriverOps* ops) const {
  const Interface* f = state_->interfaces.find(index);
  return f && f->driver == ops ? f->device : nullptr;
}

IfIndex Net::find_interface(std::string_view name) const {
  return state_->interfaces.find_by_name(name);
}

std::vector<InterfaceListing> Net::interfaces() const {
  std::vector<InterfaceListing> all;
  state_->interfaces.for_each([&](const Interface& f) { all.push_back(listing_of(f)); });
  return all;
}

void Net::visit_interfaces(const std::function<void(const Interface&)>& fn) const {
  state_->interfaces.for_each(fn);
}

Result<InterfaceListing> Net::interface(IfIndex index) const {
  const Interface* f = state_->interfaces.find(index);
  if (!f) return no_interface(index);
  return listing_of(*f);
}

}  // namespace loom
