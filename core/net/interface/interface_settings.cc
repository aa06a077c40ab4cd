// Net's methods for what an interface is told to be: sizes, link-layer address, tag, receive mode,
// table; and the ways out by it that say so.
#include <algorithm>

#include "net/interface/control.h"
#include "net/ip6/fragment_header.h"
#include "net/ip6/ip6_address.h"
#include "net/ip6/nd_messages.h"
#include "net/ip6/nd_wire.h"
#include "net/neighbor/neighbor_messages.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

constexpr std::size_t kMostTag = 63;

AdjacencyKind own_kind(const Interface& f) {
  return f.is_ethernet ? AdjacencyKind::kGlean : AdjacencyKind::kRewrite;
}
Adjacency own_adjacency(const Interface& f, AdjacencyKind kind) {
  return {.kind = kind,
          .tx_if = f.index,
          .ip4_mtu = static_cast<uint16_t>(f.mtu_of(true)),
          .ip6_mtu = static_cast<uint16_t>(f.mtu_of(false))};
}
Adjacency broadcast_adjacency(const Interface& f) {
  Adjacency a = own_adjacency(f, AdjacencyKind::kBroadcast);
  a.rewrite_length = sizeof(EthernetHeader);
  a.rewrite = {kBroadcastMac, f.mac, Be16(kEtherTypeIp4)};
  return a;
}

Adjacency group_adjacency(const Interface& f, uint16_t type) {
  Adjacency a = own_adjacency(f, AdjacencyKind::kMulticast);
  if (f.is_ethernet) {
    a.rewrite_length = sizeof(EthernetHeader);
    a.rewrite = {{}, f.mac, Be16(type)};
  }
  return a;
}

// In what workers see of an interface: its own addresses of IPv6 are link-local when it borrows.
bool is_borrowed(const Interface& f, const InterfaceAddress& a) {
  return f.lender && !a.prefix.address.ip6().is_link_local();
}

// On worker 0. While the lender still checks its addresses they override nobody (RFC 4429 section
// 3.3).
void advertise_borrowed(Worker& w, const Interface& f, const Ip6Address* only) {
  for (const auto& a : f.address_view().ip6) {
    const Ip6Address& lent = a.prefix.address.ip6();
    if (!is_borrowed(f, a) || a.is_duplicate || (only && lent != *only)) continue;
    const bool is_checked = w.now >= f.lender->dad_until.load(std::memory_order_relaxed);
    (void)send_advertisement(w, f.index, lent, all_nodes(), multicast_mac_of(all_nodes()),
                             is_checked ? kNdOverride : 0);
  }
}

}  // namespace

void add_adjacencies(NetState& s, Interface& f) {
  s.engine.run_on_worker(0, [&](Worker& w) {
    f.glean_adjacency = s.adjacencies.add(own_adjacency(f, own_kind(f)), w.now);
    if (f.is_ethernet) f.broadcast_adjacency = s.adjacencies.add(broadcast_adjacency(f), w.now);
    f.group4_adjacency = s.adjacencies.add(group_adjacency(f, kEtherTypeIp4), w.now);
    f.group6_adjacency = s.adjacencies.add(group_adjacency(f, kEtherTypeIp6), w.now);
  });
}

void refresh_adjacencies(NetState& s, const Interface& f) {
  s.engine.run_on_worker(0, [&](Worker&) {
    s.adjacencies.update(f.glean_adjacency, own_adjacency(f, own_kind(f)));
    if (f.broadcast_adjacency != kNoIndex)
      s.adjacencies.update(f.broadcast_adjacency, broadcast_adjacency(f));
    s.adjacencies.update(f.group4_adjacency, group_adjacency(f, kEtherTypeIp4));
    s.adjacencies.update(f.group6_adjacency, group_adjacency(f, kEtherTypeIp6));
    s.neighbors.refresh(f.index);
  });
  s.changed();
}

void announce_borrowed_ip6(NetState& s, const Interface& f, const Ip6Address* only) {
  s.engine.run_on_worker(0, [&](Worker& w) { advertise_borrowed(w, f, only); });
}

void announce_addresses(NetState& s, const Interface& f, bool is_new) {
  s.engine.run_on_worker(0, [&](Worker& w) {
    for (const auto& a : f.address_view().ip4)
      (void)send_gratuitous_arp(w, f.index, a.prefix.address.ip4());
    for (const auto& a : f.address_view().ip6) {
      if (is_borrowed(f, a)) continue;
      const Ip6Address& own = a.prefix.address.ip6();
      if (is_new)
        (void)send_dad_solicitation(w, f.index, own);
      else if (!a.is_duplicate)
        (void)send_advertisement(w, f.index, own, all_nodes(), multicast_mac_of(all_nodes()),
                                 kNdOverride);
    }
    advertise_borrowed(w, f, nullptr);
  });
}

namespace {

Result<void> change_mtu(Net& net, NetState& s, IfIndex index, uint32_t mtu, bool is_driver_told) {
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  const uint32_t most = f->parent ? f->parent->mtu.load() : f->max_mtu;
  if (mtu < kLeastMtu || mtu > most)
    return error(Status::kInvalid, "mtu " + std::to_string(mtu) + " is not from " +
                                       std::to_string(kLeastMtu) + " (RFC 791) to " +
                                       std::to_string(most));
  std::vector<Interface*> all = sub_interfaces_of(s, *f);
  all.push_back(f);
  if (mtu < kIp6LeastMtu)
    for (const Interface* i : all)
      if (auto ok = may_lose_ip6(*i); !ok && !i->is_ip6_off.load())
        return error(ok.error().code, "mtu " + std::to_string(mtu) +
                                          " is too small for IPv6 (RFC 8200), and " +
                                          ok.error().message);
  Result<void> done;
  if (is_driver_told && f->ops->set_mtu)
    if (const Status status = f->ops->set_mtu(f->device, mtu); status != Status::kOk)
      done = refused(status, *f, " mtu " + std::to_string(mtu));
  if (!done && done.error().code != Status::kInProgress) return done;
  f->mtu = mtu;
  for (Interface* i : all) {
    ip6_after_mtu(net, s, *i);
    refresh_adjacencies(s, *i);
  }
  return done;
}

}  // namespace

Result<void> Net::set_mtu(IfIndex index, uint32_t mtu) {
  return change_mtu(*this, *state_, index, mtu, /*is_driver_told=*/true);
}

Result<void> Net::take_over_mtu(IfIndex index, uint32_t mtu) {
  return change_mtu(*this, *state_, index, mtu, /*is_driver_told=*/false);
}

Result<void> Net::set_ip_mtu(IfIndex index, bool is_ip4, uint32_t mtu) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  const uint32_t least = is_ip4 ? kLeastMtu : kIp6LeastMtu;
  if (mtu != 0 && (mtu < least || mtu > f->max_mtu))
    return error(Status::kInvalid, (is_ip4 ? "IPv4 mtu " : "IPv6 mtu ") + std::to_string(mtu) +
                                       " is neither 0 nor from " + std::to_string(least) + " to " +
                                       std::to_string(f->max_mtu));
  (is_ip4 ? f->ip4_mtu : f->ip6_mtu) = mtu;
  refresh_adjacencies(s, *f);
  return {};
}

Result<void> Net::set_mac(IfIndex index, const MacAddress& mac) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  if (!f->is_ethernet) return error(Status::kUnsupported, f->name + " has no link-layer addresses");
  if (mac.is_multicast() || mac == MacAddress{})
    return error(Status::kInvalid, mac.str() + " is not a station's address");
  if (mac == f->mac) return {};
  if (f->parent)
    return error(Status::kUnsupported, f->name + " has the address of " + f->parent->name);
  if (!f->ops->set_mac)
    return error(Status::kUnsupported, "the driver of " + f->name + " cannot change its address");
  if (const Status status = f->ops->set_mac(f->device, mac); status != Status::kOk)
    return error(status, "the driver of " + f->name + " refuses " + mac.str());
  std::vector<Interface*> all = sub_interfaces_of(s, *f);
  all.push_back(f);
  s.engine.with_barrier([&] {  // workers compare it with what they receive
    for (Interface* i : all) i->mac = mac;
  });
  for (const Interface* i : all) {
    refresh_adjacencies(s, *i);
    if (i->is_up()) announce_addresses(s, *i, /*is_new=*/false);
  }
  return {};
}

Result<void> Net::set_tag(IfIndex index, std::string_view tag) {
  Interface* f = state_->interfaces.find(index);
  if (!f) return no_interface(index);
  if (tag.size() > kMostTag)
    return error(Status::kInvalid, "tag '" + std::string(tag) + "' is longer than " +
                                       std::to_string(kMostTag) + " bytes");
  f->tag = tag;
  return {};
}

Result<void> Net::clear_counters(IfIndex index) {
  NetState& s = *state_;
  if (index != kNoIndex && !s.interfaces.find(index)) return no_interface(index);
  // Each counter has one writer, which must not add to what it has read before.
  s.engine.with_barrier([&] {
    s.interfaces.for_each([&](Interface& f) {
      if (index == kNoIndex || f.index == index)
        std::fill(f.counters.begin(), f.counters.end(), InterfaceWorkerCounters{});
    });
  });
  return {};
}

Result<void> Net::set_rx_mode(IfIndex index, RxMode mode, std::optional<uint32_t> queue) {
  Interface* f = state_->interfaces.find(index);
  if (!f) return no_interface(index);
  if (queue && *queue >= f->rx_queues.size())
    return error(Status::kNotFound, f->name + " has no receive queue " + std::to_string(*queue));
  if (mode == RxMode::kInterrupt)
    for (uint32_t i = 0; i < f->rx_queues.size(); ++i)
      if ((!queue || *queue == i) && !f->rx_queues[i].is_watched)
        return error(Status::kUnsupported, "receive queue " + std::to_string(i) + " of " + f->name +
                                               " can only be polled");
  for (uint32_t i = 0; i < f->rx_queues.size(); ++i) {
    if (queue && *queue != i) continue;
    f->rx_queues[i].mode = mode;
    apply_rx_mode(*state_, *f, static_cast<uint16_t>(i));
  }
  return {};
}

Result<void> Net::set_table(IfIndex index, uint32_t table, bool is_ip6) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  const auto fib = s.routes.find_table(table, is_ip6);
  if (!fib) return fib.error();
  if (f->table_of(!is_ip6) == table) return {};
  if (!(is_ip6 ? f->address_list->ip6 : f->address_list->ip4).empty())
    return error(Status::kInUse,
                 f->name + (is_ip6 ? " has IPv6" : " has IPv4") + " addresses; remove them first");
  if (f->lender || !borrowers_of(s, *f).empty())
    return error(Status::kInUse, f->name + (f->lender ? " borrows addresses" : " lends addresses"));
  (is_ip6 ? f->ip6_table : f->ip4_table) = table;
  (is_ip6 ? f->ip6_fib_index : f->ip4_fib_index) = *fib;
  s.changed();
  return {};
}

}  // namespace loom
