#include "source_addresses.h"

#include <algorithm>
#include <optional>

#include "reset.h"
#include "tcp.h"

namespace loom::tcp {
namespace {

// Null after the last address of the family.
std::optional<IpAddress> next_of(const IpAddress& a) {
  if (a.is_ip4) {
    const uint32_t host = a.ip4().host();
    if (host == ~0u) return std::nullopt;
    return IpAddress(Ip4Address::from_host(host + 1));
  }
  Ip6Address next = a.ip6();
  for (std::size_t i = sizeof next.bytes; i-- > 0;)
    if (++next.bytes[i] != 0) return IpAddress(next);
  return std::nullopt;
}

// Connections under way read the sets.
void change(Host& host, auto fn) {
  host.ops->with_barrier(
      host, [](void* f) { (*static_cast<decltype(fn)*>(f))(shared().sources); }, &fn);
}

}  // namespace

SourceAddresses::Set& SourceAddresses::set_of(uint32_t table, uint32_t fib_index, bool is_ip4) {
  for (Set& s : sets_)
    if (s.table == table && s.is_ip4 == is_ip4) return s;
  return sets_.emplace_back(Set{table, fib_index, is_ip4, {}});
}

void SourceAddresses::forget(uint32_t table) {
  std::erase_if(sets_, [table](const Set& s) { return s.table == table; });
}

Result<void> add_source_addresses(Host& host, const IpAddress& first, const IpAddress& last,
                                  uint32_t table) {
  const std::string range = first.str() + " - " + last.str();
  if (first.is_ip4 != last.is_ip4 || last < first)
    return error(Status::kInvalid, range + " is not a range of addresses of one family");
  std::vector<IpAddress> addresses;
  for (const SourceAddresses::Set& s : shared().sources.sets())
    if (s.table == table && s.is_ip4 == first.is_ip4) addresses = s.addresses;
  const std::size_t before = addresses.size();
  for (std::optional<IpAddress> a = first; a && *a <= last; a = next_of(*a)) {
    if (!is_unicast(*a)) return error(Status::kInvalid, a->str() + " is not a unicast address");
    if (std::find(addresses.begin(), addresses.begin() + std::ptrdiff_t(before), *a) !=
        addresses.begin() + std::ptrdiff_t(before))
      continue;
    if (addresses.size() == SourceAddresses::kMost)
      return error(Status::kNoMemory, range + ": a table has no more than " +
                                          std::to_string(SourceAddresses::kMost) +
                                          " source addresses");
    addresses.push_back(*a);
  }
  uint32_t fib_index = 0;
  for (const IpAddress& a : addresses) {
    const auto owned = host.own_address(a, table);
    if (!owned) return owned.error();
    fib_index = *owned;
  }
  change(host, [&](SourceAddresses& sources) {
    sources.set_of(table, fib_index, first.is_ip4).addresses.swap(addresses);
  });
  return {};
}

void forget_source_addresses(Host& host, uint32_t table) {
  change(host, [&](SourceAddresses& sources) { sources.forget(table); });
}

}  // namespace loom::tcp
