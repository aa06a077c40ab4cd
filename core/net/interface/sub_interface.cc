// Sub-interfaces: an Ethernet interface's VLANs (IEEE Std 802.1Q), each an interface with
// addresses, neighbours, routes, MTU, state and counters of its own. Frames of the parent that
// carry its tag, one and no more, are its; what it sends gets the tag. Link-layer address, driver
// and offloads are the parent's, its link is up while the parent carries packets, and it goes with
// the parent.
//
// On the way in ethernet-input takes the tag off and says which interface the packet is from; on
// the way out interface-output puts it on and hands the frame to the parent.
#include "net/interface/control.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

// Never called: interface-output hands packets to the parent. What a plugin sends here is dropped.
uint32_t no_tx(Worker&, void*, uint16_t, std::span<Buffer* const>) noexcept { return 0; }

Result<void> check(const NetState& s, const Interface& parent, const std::string& name,
                   uint16_t vlan_id) {
  if (parent.parent)
    return error(Status::kUnsupported,
                 parent.name + " is a sub-interface itself: there is one tag at most");
  if (!parent.is_ethernet)
    return error(Status::kUnsupported, parent.name + " is not Ethernet: it has no VLANs");
  if (vlan_id < VlanTable::kLeastId || vlan_id > VlanTable::kMostId)
    return error(Status::kInvalid, "VLAN id " + std::to_string(vlan_id) + " is not from " +
                                       std::to_string(VlanTable::kLeastId) + " to " +
                                       std::to_string(VlanTable::kMostId));
  if (auto ok = check_name(s, name); !ok) return ok;
  if (const Interface* other =
          parent.vlan_table ? parent.vlan_table->by_id[vlan_id].load() : nullptr)
    return error(Status::kInUse, "VLAN " + std::to_string(vlan_id) + " of " + parent.name +
                                     " is that of " + other->name);
  return {};
}

std::unique_ptr<Interface> make(const NetState& s, Interface& parent, std::string name) {
  auto f = std::make_unique<Interface>();
  f->name = std::move(name);
  f->parent = &parent;
  f->mac = parent.mac;
  f->mtu = parent.mtu.load();
  if (!may_have_ip6(*f)) {
    f->is_ip6_off = true;
    f->ip6_lost = Ip6Lost::kUnused;
  }
  f->max_mtu = parent.max_mtu;
  f->caps = parent.caps;
  f->own_ops = {.name = parent.ops->name, .tx = no_tx};
  f->is_link_up = parent.is_up();
  f->counters.resize(s.engine.n_workers());
  f->address_list = std::make_unique<AddressList>();
  f->addresses = f->address_list.get();
  return f;
}

}  // namespace

std::vector<Interface*> sub_interfaces_of(const NetState& s, const Interface& parent) {
  std::vector<Interface*> all;
  if (!parent.vlan_table) return all;
  s.interfaces.for_each([&](Interface& f) {
    if (f.parent == &parent) all.push_back(&f);
  });
  return all;
}

void take_from_parent(const Interface& f) {
  if (f.parent) f.parent->vlan_table->by_id[f.vlan_id].store(nullptr, std::memory_order_relaxed);
}

Result<IfIndex> Net::create_sub_interface(IfIndex parent_index, uint32_t sub_id, uint16_t vlan_id) {
  NetState& s = *state_;
  Interface* parent = s.interfaces.find(parent_index);
  if (!parent) return no_interface(parent_index);
  std::string name = sub_interface_name(parent->name, sub_id);
  if (auto ok = check(s, *parent, name, vlan_id); !ok) return ok.error();
  auto owned = make(s, *parent, std::move(name));
  Interface& f = *owned;
  f.sub_id = sub_id;
  f.vlan_id = vlan_id;
  if (s.interfaces.add(std::move(owned)) == kNoIndex)
    return error(Status::kNoMemory,
                 std::to_string(s.config.max_interfaces) + " interfaces are the most");
  add_adjacencies(s, f);
  if (!parent->vlan_table) {
    parent->vlan_table = std::make_unique<VlanTable>();
    parent->vlans.store(parent->vlan_table.get(), std::memory_order_release);
  }
  parent->vlan_table->by_id[vlan_id].store(&f, std::memory_order_release);
  s.changed();
  notify(s, f, false);
  return f.index;
}

Result<void> Net::delete_sub_interface(IfIndex index) {
  const Interface* f = state_->interfaces.find(index);
  if (!f) return no_interface(index);
  if (!f->parent) return error(Status::kInvalid, f->name + " is not a sub-interface");
  (void)remove_interface(index);
  return {};
}

}  // namespace loom
