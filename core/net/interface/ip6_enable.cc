// Whether an interface has IPv6 at all. Enabled without a global address it has its link-local one
// (RFC 4291 section 2.1), which is enough for neighbour discovery and for routes by link-local
// gateways. Disabled, it has none, and what arrives is dropped by ip6-input. Nobody needs to say
// so: until it is disabled, an interface takes IPv6 packets, and an address that is given to it
// enables it. One whose packets are smaller than RFC 8200 section 5 demands of a link has no IPv6:
// it cannot be enabled, is disabled when they become so, and gets back what it had when they grow.
#include <utility>

#include "net/interface/control.h"
#include "net/ip6/fragment_header.h"
#include "net/ip6/ip6_address.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {

Result<void> may_have_ip6(const Interface& f) {
  if (f.packet_mtu() >= kIp6LeastMtu) return {};
  return error(Status::kInvalid, f.name + " has an mtu of " + std::to_string(f.packet_mtu()) +
                                     ", below " + std::to_string(kIp6LeastMtu) +
                                     ": too small for IPv6 (RFC 8200)");
}

Result<void> may_lose_ip6(const Interface& f) {
  const Interface& owner = f.lender ? *f.lender : f;
  for (const auto& a : owner.address_list->ip6)
    if (!a.prefix.address.ip6().is_link_local())
      return error(Status::kInUse, owner.name + " has " + a.prefix.str() + "; remove it first");
  return {};
}

void ip6_after_mtu(Net& net, NetState& s, Interface& f) {
  if (!may_have_ip6(f)) {
    if (f.is_ip6_off.load()) return;
    f.ip6_lost = f.address_list->ip6.empty() ? Ip6Lost::kUnused : Ip6Lost::kLinkLocal;
    turn_ip6_off(net, f);
  } else if (const Ip6Lost lost = std::exchange(f.ip6_lost, Ip6Lost::kNot); lost != Ip6Lost::kNot) {
    turn_ip6_on(s, f);
    if (lost == Ip6Lost::kLinkLocal) (void)net.set_ip6_enabled(f.index, true);
  }
}

void turn_ip6_off(Net& net, Interface& f) {
  while (!f.address_list->ip6.empty())
    (void)net.del_address(f.index, IpPrefix(f.address_list->ip6.back().prefix));
  f.is_ip6_off = true;
  (void)net.flush_neighbors(f.index, /*is_ip4=*/false);
}

void turn_ip6_on(NetState& s, Interface& f) {
  if (!f.is_ip6_off.exchange(false) || !f.lender) return;
  show_addresses(s, f);
  announce_borrowed_ip6(s, f);
}

Result<void> Net::set_ip6_enabled(IfIndex index, bool is_enabled) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  if (is_enabled) {
    if (auto ok = may_have_ip6(*f); !ok) return ok;
    turn_ip6_on(s, *f);
    if (!f->address_list->ip6.empty()) return {};
    return add_address(index, {IpAddress(link_local_of(f->mac)), 64});
  }
  if (f->is_ip6_off.load()) return error(Status::kNotFound, "IPv6 is not enabled on " + f->name);
  if (f->lender)
    return error(Status::kInUse, f->name + " borrows the addresses of " + f->lender->name);
  if (auto ok = may_lose_ip6(*f); !ok) return ok;
  turn_ip6_off(*this, *f);
  return {};
}

}  // namespace loom
