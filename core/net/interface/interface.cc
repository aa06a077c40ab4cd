#include "net/interface/interface.h"

#include <algorithm>

namespace loom {
namespace {

unsigned common_prefix(const IpAddress& a, const IpAddress& b) noexcept {
  unsigned n = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    const auto difference = static_cast<uint8_t>(a.bits.bytes[i] ^ b.bits.bytes[i]);
    if (difference == 0) {
      n += 8;
      continue;
    }
    return n + static_cast<unsigned>(std::countl_zero(difference));
  }
  return n;
}

}  // namespace

const IpAddress* AddressList::source_for(const IpAddress& destination) const noexcept {
  const auto& list = destination.is_ip4 ? ip4 : ip6;
  const bool wants_link_local =
      !destination.is_ip4 &&
      (destination.ip6().is_link_local() ||
       (destination.ip6().is_multicast() && (destination.bits.bytes[1] & 0xf) == 2));
  const InterfaceAddress *best = nullptr, *in_scope = nullptr, *any = nullptr;
  for (const auto& i : list) {
    if (i.is_duplicate) continue;
    if (!any) any = &i;
    const bool is_link_local = !destination.is_ip4 && i.prefix.address.ip6().is_link_local();
    if (is_link_local != wants_link_local) continue;
    if (!in_scope) in_scope = &i;
    if (common_prefix(i.prefix.address, destination) < i.prefix.length) continue;
    if (!best || i.prefix.length > best->prefix.length) best = &i;
  }
  const InterfaceAddress* chosen = best ? best : in_scope ? in_scope : any;
  return chosen ? &chosen->prefix.address : nullptr;
}

IfIndex InterfaceTable::add(std::unique_ptr<Interface> interface) {
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].load(std::memory_order_relaxed)) continue;
    interface->index = i;
    used_.store(std::max(end(), i + 1), std::memory_order_release);
    slots_[i].store(interface.release(), std::memory_order_release);
    return i;
  }
  return kNoIndex;
}

std::unique_ptr<Interface> InterfaceTable::remove(IfIndex i) {
  return std::unique_ptr<Interface>(slots_[i].exchange(nullptr, std::memory_order_acq_rel));
}

IfIndex InterfaceTable::find_by_name(std::string_view name) const noexcept {
  for (uint32_t i = 0, n = end(); i < n; ++i)
    if (const Interface* f = find(i); f && f->name == name) return i;
  return kNoIndex;
}

}  // namespace loom
