// Unnumbered interfaces: one without addresses of its own borrows those of another, the lender, to
// speak and to be spoken to with. Routes tell who is behind it ("10.0.0.5/32 via tap0"): the
// lender's subnets stay with the lender. Its IPv6 link-local address is its own (RFC 4291 section
// 2.1). With IPv6 switched off it borrows those of IPv4 only.
//
// Workers see one list of addresses, its own and the borrowed ones; the control thread goes on
// listing and changing its own.
#include "net/interface/control.h"
#include "net/ip6/ip6_address.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

Result<void> check(const NetState& s, const Interface& f, const Interface& lender) {
  if (&f == &lender) return error(Status::kInvalid, f.name + " cannot borrow from itself");
  if (lender.lender)
    return error(Status::kInvalid,
                 lender.name + " borrows the addresses of " + lender.lender->name);
  if (const auto borrowers = borrowers_of(s, f); !borrowers.empty())
    return error(Status::kInUse, f.name + " lends its addresses to " + borrowers[0]->name);
  if (has_addresses(f)) return error(Status::kExists, f.name + " has addresses; remove them first");
  for (const bool is_ip4 : {true, false})
    if (f.table_of(is_ip4) != lender.table_of(is_ip4))
      return error(Status::kInUse, f.name + " and " + lender.name + " are in different tables");
  return {};
}

}  // namespace

std::vector<Interface*> borrowers_of(const NetState& s, const Interface& lender) {
  std::vector<Interface*> all;
  s.interfaces.for_each([&](Interface& f) {
    if (f.lender == &lender) all.push_back(&f);
  });
  return all;
}

bool has_addresses(const Interface& f) {
  if (!f.address_list->ip4.empty()) return true;
  for (const auto& a : f.address_list->ip6)
    if (!a.prefix.address.ip6().is_link_local()) return true;
  return false;
}

void show_addresses(NetState& s, Interface& f) {
  std::unique_ptr<const AddressList> view;
  if (f.lender) {
    auto both = std::make_unique<AddressList>(*f.address_list);
    const AddressList& lent = *f.lender->address_list;
    both->ip4.insert(both->ip4.end(), lent.ip4.begin(), lent.ip4.end());
    for (const auto& a : lent.ip6)
      if (!f.is_ip6_off.load() && !a.prefix.address.ip6().is_link_local()) both->ip6.push_back(a);
    view = std::move(both);
  }
  f.addresses.store(view ? view.get() : f.address_list.get(), std::memory_order_release);
  f.borrowed_view.swap(view);
  if (view) s.engine.after_grace([old = std::shared_ptr<const AddressList>(std::move(view))] {});
  s.changed();
  s.engine.run_on_worker(0, [&](Worker& w) { s.group_reports.addresses_changed(w, f.index); });
  for (const auto& fn : s.address_listeners) fn(f.index);
}

Result<void> Net::set_unnumbered(IfIndex index, IfIndex lender_index) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  Interface* lender = s.interfaces.find(lender_index);
  if (!lender) return no_interface(lender_index);
  if (f->lender == lender) return {};
  if (auto ok = check(s, *f, *lender); !ok) return ok;
  if (f->address_list->ip6.empty() && !f->is_ip6_off.load())
    if (auto ok = add_address(index, {IpAddress(link_local_of(f->mac)), 64}); !ok) return ok;
  f->lender = lender;
  f->is_unnumbered = true;
  show_addresses(s, *f);
  if (f->is_up()) announce_addresses(s, *f, /*is_new=*/true);
  return {};
}

Result<void> Net::clear_unnumbered(IfIndex index) {
  Interface* f = state_->interfaces.find(index);
  if (!f) return no_interface(index);
  if (!f->lender) return error(Status::kNotFound, f->name + " borrows no addresses");
  f->is_unnumbered = false;
  f->lender = nullptr;
  show_addresses(*state_, *f);
  return {};
}

}  // namespace loom
