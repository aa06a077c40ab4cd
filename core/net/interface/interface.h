// One network interface, and the table of them. The control thread writes; workers read by index.
// What workers read while it changes is atomic; an Interface goes away only while all workers stand
// still, so a pointer is good until the end of the node function that got it.
#pragma once
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/interface.h>
#include <hostloom/types.h>

#include "hash/spin_lock.h"
#include "net/interface/vlan_table.h"

namespace loom {

// An address of this host on an interface.
struct InterfaceAddress {
  IpPrefix prefix;            // with host bits
  bool is_duplicate = false;  // another host has it (RFC 4862 section 5.4.5): not in use
};

// What workers see of an interface's addresses: an immutable list, replaced as a whole and freed
// after a grace period.
struct AddressList {
  std::vector<InterfaceAddress> ip4;
  std::vector<InterfaceAddress> ip6;  // link-local ones too

  bool has(const IpAddress& a) const noexcept {
    for (const auto& i : a.is_ip4 ? ip4 : ip6)
      if (i.prefix.address == a && !i.is_duplicate) return true;
    return false;
  }
  // The address to send from: in the destination's subnet (longest prefix first), or the first of
  // the destination's scope, or the first. nullptr when there is none of the family.
  const IpAddress* source_for(const IpAddress& destination) const noexcept;
};

struct alignas(kCacheLine) InterfaceWorkerCounters {
  InterfaceCounters rx;  // counted by the driver
  InterfaceCounters tx;  // drops: the driver had no room
};

// Counters have one writer, the worker; control reads them at any time.
inline void add_counter(uint64_t& counter, uint64_t n) noexcept {
  __atomic_store_n(&counter, counter + n, __ATOMIC_RELAXED);
}

struct RxQueue {
  int event_fd = -1;
  uint32_t worker = 0;
  bool is_watched = false;
  std::atomic<RxMode> mode{RxMode::kAdaptive};  // the operator's
  RxMode told = RxMode::kAdaptive;              // to the driver: one that is not watched is polled
};

// IPv6 that an interface has not because its packets are too small for it.
enum class Ip6Lost : uint8_t { kNot, kUnused, kLinkLocal };  // kLinkLocal: it had such an address

struct Interface {
  IfIndex index = kNoIndex;
  std::string name;
  MacAddress mac;
  uint32_t max_mtu = 0;
  uint32_t caps = 0;
  bool is_ethernet = true;
  bool is_loopback = false;
  DriverOps own_ops;  // what the driver's table and ours both know, the rest null
  const DriverOps* ops = &own_ops;
  const DriverOps* driver = nullptr;  // the driver's table itself: who it is
  void* device = nullptr;
  NodeId input_node = kNoNode;
  bool needs_offload = false;  // the device lacks an offload: packets pass through tx-offload
  uint16_t n_tx_queues = 1;
  std::unique_ptr<SpinLock[]> tx_locks;  // by queue; null when no two workers share one
  std::vector<RxQueue> rx_queues;

  std::atomic<uint32_t> mtu{1500};               // L3 bytes
  std::atomic<uint32_t> ip4_mtu{0}, ip6_mtu{0};  // of one family, 0 = mtu; see mtu_of()
  std::atomic<uint32_t> ip4_fib_index{0}, ip6_fib_index{0};
  std::atomic<bool> is_admin_up{false}, is_link_up{true};
  std::atomic<const AddressList*> addresses{nullptr};  // never null once registered
  std::atomic<bool> is_ip6_off{
      false};                        // IPv6 packets are dropped; by the operator, or see ip6_lost
  Ip6Lost ip6_lost = Ip6Lost::kNot;  // control thread
  std::atomic<bool> is_unnumbered{false};  // it has a lender
  std::atomic<TimeNs> dad_until{0};  // until then an answer means a duplicate address (worker 0)
  std::vector<InterfaceWorkerCounters> counters;  // by worker

  // Of a sub-interface: the interface whose VLAN it is, which goes later than it; and the tag.
  Interface* parent = nullptr;
  uint32_t sub_id = 0;
  uint16_t vlan_id = 0;
  std::atomic<const VlanTable*> vlans{nullptr};  // of a parent

  // Control thread's.
  std::unique_ptr<VlanTable> vlan_table;  // owns what `vlans` points at; since the first of them
  std::unique_ptr<const AddressList> address_list;   // its own; what `addresses` points at, unless
  std::unique_ptr<const AddressList> borrowed_view;  // there are borrowed ones as well
  Interface* lender = nullptr;                       // whose addresses it borrows; goes later
  uint32_t ip4_table = 0, ip6_table = 0;
  std::string tag;  // the operator's own words
  uint32_t glean_adjacency = kNoIndex;
  std::atomic<uint32_t> broadcast_adjacency{kNoIndex};  // these are read by workers
  std::atomic<uint32_t> group4_adjacency{kNoIndex}, group6_adjacency{kNoIndex};  // of multicast

  bool is_up() const noexcept {
    return is_admin_up.load(std::memory_order_relaxed) &&
           is_link_up.load(std::memory_order_relaxed);
  }
  // The largest packet, L3 bytes: a VLAN's fits into its parent's, whose frame is that much longer.
  uint32_t packet_mtu() const noexcept {
    const uint32_t own = mtu.load(std::memory_order_relaxed);
    return parent ? std::min(own, parent->mtu.load(std::memory_order_relaxed)) : own;
  }
  // The same of a family.
  uint32_t mtu_of(bool is_ip4) const noexcept {
    const uint32_t any = packet_mtu();
    const uint32_t own = (is_ip4 ? ip4_mtu : ip6_mtu).load(std::memory_order_relaxed);
    return own ? std::min(own, any) : any;
  }
  uint32_t table_of(bool is_ip4) const noexcept { return is_ip4 ? ip4_table : ip6_table; }
  const AddressList& address_view() const noexcept {
    return *addresses.load(std::memory_order_acquire);
  }
};

// Index -> interface. Slots are filled by control, and emptied under the barrier.
class InterfaceTable {
 public:
  explicit InterfaceTable(uint32_t max) : slots_(max) {}

  // Any thread that holds off the barrier (workers), or control.
  Interface* find(IfIndex i) const noexcept {
    return i < slots_.size() ? slots_[i].load(std::memory_order_acquire) : nullptr;
  }
  // Control. kNoIndex when full. The lowest free index, as operators expect.
  IfIndex add(std::unique_ptr<Interface> interface);
  std::unique_ptr<Interface> remove(IfIndex i);  // under the barrier
  IfIndex find_by_name(std::string_view name) const noexcept;
  // Every index is below.
  uint32_t end() const noexcept { return used_.load(std::memory_order_acquire); }
  template <class Fn>
  void for_each(Fn&& fn) const {
    for (uint32_t i = 0, n = end(); i < n; ++i)
      if (Interface* f = find(i)) fn(*f);
  }

 private:
  std::vector<std::atomic<Interface*>> slots_;
  std::atomic<uint32_t> used_{0};  // slots from here on were never filled
};

}  // namespace loom
