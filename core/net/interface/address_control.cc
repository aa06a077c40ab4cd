// Net's address methods: an address brings a local route, its subnet's route, and an announcement.
#include <algorithm>

#include "net/interface/control.h"
#include "net/ip6/ip6_address.h"
#include "net/neighbor/neighbor_messages.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

Result<void> check(const NetState& s, const Interface& f, const IpPrefix& p) {
  const std::string text = p.str();
  const uint8_t most = p.address.is_ip4 ? 32 : 128;
  if (p.length == 0 || p.length > most)
    return error(Status::kInvalid,
                 text + ": the prefix length is not from 1 to " + std::to_string(most));
  if (p.address.is_ip4) {
    const Ip4Address a = p.address.ip4();
    if (a.is_zero() || a.is_multicast() || a.is_broadcast() || a.is_loopback())
      return error(Status::kInvalid, text + " is not an address for an interface");
    if (p.length < 31) {  // RFC 3021: a /31 has no network and no broadcast address
      const uint32_t host = a.host() & (~0u >> p.length);
      if (host == 0 || host == (~0u >> p.length))
        return error(Status::kInvalid, text + " is its subnet's network or broadcast address");
    }
  } else if (p.address.ip6().is_zero() || p.address.ip6().is_multicast() ||
             p.address.ip6().is_loopback()) {
    return error(Status::kInvalid, text + " is not an address for an interface");
  }
  std::string holder;
  s.interfaces.for_each([&](const Interface& other) {
    const auto& list = p.address.is_ip4 ? other.address_list->ip4 : other.address_list->ip6;
    for (const auto& a : list)
      if (a.prefix.address == p.address &&
          other.table_of(p.address.is_ip4) == f.table_of(p.address.is_ip4) &&
          (other.index == f.index || p.address.is_ip4 || !p.address.ip6().is_link_local()))
        holder = other.name;
  });
  if (!holder.empty())
    return error(Status::kExists, p.address.str() + " is on " + holder + " already");
  return {};
}

// Replaces what workers see of the interface's addresses.
void publish(NetState& s, Interface& f, std::unique_ptr<const AddressList> list) {
  f.address_list.swap(list);
  show_addresses(s, f);
  for (Interface* borrower : borrowers_of(s, f)) show_addresses(s, *borrower);
  s.engine.after_grace([old = std::shared_ptr<const AddressList>(std::move(list))] {});
}

IpPrefix host_prefix(const IpAddress& a) { return {a, static_cast<uint8_t>(a.is_ip4 ? 32 : 128)}; }

// The subnet's broadcast address, where there is one of its own.
std::optional<IpPrefix> broadcast_of(const Interface& f, const IpPrefix& p) {
  if (!p.address.is_ip4 || p.length > 30 || f.broadcast_adjacency == kNoIndex) return std::nullopt;
  const auto last = Ip4Address::from_host(p.address.ip4().host() | (~0u >> p.length));
  if (last.is_broadcast()) return std::nullopt;  // which every table has already
  return IpPrefix{IpAddress(last), 32};
}

bool shares_subnet(const AddressList& list, const IpPrefix& p) {
  const auto& all = p.address.is_ip4 ? list.ip4 : list.ip6;
  return std::any_of(all.begin(), all.end(), [&](const InterfaceAddress& a) {
    return network_of(a.prefix) == network_of(p);
  });
}

Result<void> put(NetState& s, const Interface& f, const IpPrefix& p, uint32_t adjacency,
                 bool is_local) {
  RouteSource source;
  source.origin = RouteOrigin::kInterface;
  source.adjacency = adjacency;
  source.is_local = is_local;
  source.route.prefix = p;
  source.route.table = f.table_of(p.address.is_ip4);
  source.route.tx_if = f.index;
  return s.routes.put(source, nullptr);
}

void take(NetState& s, const Interface& f, const IpPrefix& p) {
  (void)s.routes.take(p, f.table_of(p.address.is_ip4), RouteOrigin::kInterface, f.index);
}

// Tells the link: a new owner of the address (RFC 5227 section 2.3), or a question whether there is
// another one (RFC 4862 section 5.4, optimistically: the address is in use meanwhile, RFC 4429).
void announce(NetState& s, const Interface& f, const IpAddress& a) {
  if (!f.is_up() || !f.is_ethernet) return;
  s.engine.run_on_worker(0, [&](Worker& w) {
    if (a.is_ip4)
      (void)send_gratuitous_arp(w, f.index, a.ip4());
    else
      (void)send_dad_solicitation(w, f.index, a.ip6());
  });
}

}  // namespace

Result<void> Net::add_address(IfIndex index, const IpPrefix& prefix) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  if (auto ok = check(s, *f, prefix); !ok) return ok;
  const bool is_ip4 = prefix.address.is_ip4;
  if (f->lender && (is_ip4 || !prefix.address.ip6().is_link_local()))
    return error(Status::kInUse, f->name + " borrows the addresses of " + f->lender->name);
  if (!is_ip4) {
    if (auto ok = may_have_ip6(*f); !ok) return ok;
    turn_ip6_on(s, *f);
  }
  if (!is_ip4 && f->address_list->ip6.empty() && !prefix.address.ip6().is_link_local()) {
    const IpPrefix link_local{IpAddress(link_local_of(f->mac)), 64};  // RFC 4291 section 2.1
    if (auto ok = add_address(index, link_local); !ok) return ok;
  }
  auto list = std::make_unique<AddressList>(*f->address_list);
  (is_ip4 ? list->ip4 : list->ip6).push_back({.prefix = prefix});
  const bool is_host = prefix.length == (is_ip4 ? 32 : 128);
  if (auto ok = put(s, *f, host_prefix(prefix.address), kAdjacencyLocal, true); !ok) return ok;
  if (!is_host)
    if (auto ok = put(s, *f, network_of(prefix), f->glean_adjacency, false); !ok) return ok;
  if (const auto broadcast = broadcast_of(*f, prefix))
    if (auto ok = put(s, *f, *broadcast, f->broadcast_adjacency, false); !ok) return ok;
  publish(s, *f, std::move(list));
  announce(s, *f, prefix.address);
  if (is_ip4 || !prefix.address.ip6().is_link_local())
    for (const Interface* borrower : borrowers_of(s, *f))
      is_ip4 ? announce(s, *borrower, prefix.address)
             : announce_borrowed_ip6(s, *borrower, &prefix.address.ip6());
  return {};
}

Result<void> Net::del_address(IfIndex index, const IpPrefix& prefix) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  auto list = std::make_unique<AddressList>(*f->address_list);
  auto& all = prefix.address.is_ip4 ? list->ip4 : list->ip6;
  const auto it = std::find_if(all.begin(), all.end(),
                               [&](const InterfaceAddress& a) { return a.prefix == prefix; });
  if (it == all.end()) return error(Status::kNotFound, f->name + " has no address " + prefix.str());
  all.erase(it);
  take(s, *f, host_prefix(prefix.address));
  if (!shares_subnet(*list, prefix)) {
    if (prefix.length < (prefix.address.is_ip4 ? 32 : 128)) take(s, *f, network_of(prefix));
    if (const auto broadcast = broadcast_of(*f, prefix)) take(s, *f, *broadcast);
  }
  publish(s, *f, std::move(list));
  return {};
}

Result<uint32_t> Net::own_address(const IpAddress& address, uint32_t table) {
  const auto index = fib_index(table, !address.is_ip4);
  if (!index) return index.error();
  const Interface* on = nullptr;
  IpPrefix in_subnet;
  bool is_owned = false;
  state_->interfaces.for_each([&](const Interface& f) {
    if (f.table_of(address.is_ip4) != table) return;
    const auto& list = address.is_ip4 ? f.address_list->ip4 : f.address_list->ip6;
    for (const InterfaceAddress& a : list) {
      is_owned |= a.prefix.address == address;
      const IpPrefix here{address, a.prefix.length};
      if (on || network_of(a.prefix) != network_of(here)) continue;
      on = &f;
      in_subnet = here;
    }
  });
  if (is_owned) return *index;
  if (!on)
    return error(Status::kUnreachable, "no interface of table " + std::to_string(table) +
                                           " has a subnet with " + address.str());
  if (auto ok = check(*state_, *on, in_subnet); !ok) return ok.error();
  if (auto ok = add_address(on->index, host_prefix(address)); !ok) return ok.error();
  return *index;
}

void mark_duplicate(NetState& s, IfIndex index, const IpAddress& address) {
  Interface* f = s.interfaces.find(index);
  if (!f) return;
  auto list = std::make_unique<AddressList>(*f->address_list);
  for (auto& a : list->ip6) {  // its own: a borrowed one is its lender's to check
    if (a.prefix.address != address || a.is_duplicate) continue;
    a.is_duplicate = true;
    take(s, *f, host_prefix(address));
    publish(s, *f, std::move(list));
    return;
  }
}

}  // namespace loom
