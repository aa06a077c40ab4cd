// Filters: the deny lists of sources, on the control thread. A namespace may have one table for
// each version of IP: what a call names is of one list then, or of two.
#include "session/impl.h"

namespace loom::session {
namespace {

// What of a call is for the IPv4 table of a namespace, and what for the IPv6 table; all in one
// where these are the same.
template <class T, class IsIp4>
std::array<std::vector<T>, 2> by_version(std::span<const T> all, bool same_table, IsIp4&& is_ip4) {
  std::array<std::vector<T>, 2> parts;
  for (const T& x : all) parts[!same_table && !is_ip4(x)].push_back(x);
  return parts;
}

}  // namespace

Result<void> Filters::add_sources(uint32_t appns, std::span<const DenyEntry> entries) {
  if (!has_namespace(appns))
    return error(Status::kNotFound, "no application namespace " + std::to_string(appns));
  for (const DenyEntry& e : entries)
    if (e.tag.size() > kMaxTag)
      return error(Status::kInvalid, "a tag has at most " + std::to_string(kMaxTag) + " bytes");
  const FibPair fibs = layer_.namespaces[appns]->fibs();
  const auto parts = by_version(entries, fibs.ip4 == fibs.ip6,
                                [](const DenyEntry& e) { return e.prefix.address.is_ip4; });
  for (const bool is_ip4 : {true, false}) {
    const auto& part = parts[!is_ip4];
    if (part.empty() && !entries.empty()) continue;
    const auto table = table_of(RuleScope::kGlobal, appns, is_ip4);
    Result<void> added;
    if (!table) {
      added = table.error();
    } else {
      auto& own = own_lists_[*table];
      if (!own) {
        auto made = DenyList::create(defer());
        if (!made) {
          added = made.error();
        } else {
          own = std::move(*made);
          lists_[*table].store(own.get(), std::memory_order_release);
        }
      }
      if (own) added = own->add(part);
    }
    recount();
    review_links(layer_);
    if (added) continue;
    if (!is_ip4 && !parts[0].empty()) {  // all of a call or nothing
      std::vector<IpPrefix> undo;
      for (const DenyEntry& e : parts[0]) undo.push_back(e.prefix);
      (void)del_sources(appns, undo);
    }
    return added;
  }
  return {};
}

Result<void> Filters::del_sources(uint32_t appns, std::span<const IpPrefix> prefixes) {
  if (!has_namespace(appns))
    return error(Status::kNotFound, "no application namespace " + std::to_string(appns));
  const FibPair fibs = layer_.namespaces[appns]->fibs();
  const auto parts = by_version(prefixes, fibs.ip4 == fibs.ip6,
                                [](const IpPrefix& p) { return p.address.is_ip4; });
  // Those of the second list are looked for first: what is denied must not pass meanwhile.
  if (!parts[0].empty() && !parts[1].empty()) {
    const DenyList* second = sources(appns, false);
    for (const IpPrefix& p : parts[1])
      if (!second || !second->entry(p))
        return error(Status::kNotFound, "source " + p.str() + " is not in the deny list");
  }
  std::vector<DenyEntry> gone4;
  for (const bool is_ip4 : {true, false}) {
    const auto& part = parts[!is_ip4];
    if (part.empty()) continue;
    const auto table = table_of(RuleScope::kGlobal, appns, is_ip4);
    DenyList* own = table ? own_lists_[*table].get() : nullptr;
    if (is_ip4 && own && !parts[1].empty())
      for (const IpPrefix& p : part)
        if (auto e = own->entry(p)) gone4.push_back(*e);
    // An entry may have let pass what a shorter prefix denies.
    const auto gone = own ? own->del(part)
                          : Result<void>(error(Status::kNotFound, "source " + part.front().str() +
                                                                      " is not in the deny list"));
    recount();
    review_links(layer_);
    if (gone) continue;
    if (!is_ip4 && !gone4.empty()) (void)add_sources(appns, gone4);  // all of a call or nothing
    return gone;
  }
  return {};
}

Result<std::size_t> Filters::del_sources_with(uint32_t appns, const std::string& tag) {
  if (!has_namespace(appns))
    return error(Status::kNotFound, "no application namespace " + std::to_string(appns));
  if (tag.empty()) return error(Status::kInvalid, "which sources? a tag is missing");
  std::size_t n = 0;
  for (const bool is_ip4 : {true, false}) {
    const auto table = table_of(RuleScope::kGlobal, appns, is_ip4);
    DenyList* own = table ? own_lists_[*table].get() : nullptr;
    if (own) n += own->del_tag(tag, is_ip4);
  }
  recount();
  review_links(layer_);
  if (n == 0)
    return error(Status::kNotFound, "no source in the deny list has the tag '" + tag + "'");
  return n;
}

const DenyList* Filters::sources(uint32_t appns, bool is_ip4) const {
  const auto table = table_of(RuleScope::kGlobal, appns, is_ip4);
  return table ? own_lists_[*table].get() : nullptr;
}

uint64_t Filters::denied_sources() const {
  uint64_t n = 0;
  for (const auto& worker : per_worker_) n += worker.denied_sources;
  return n;
}

}  // namespace loom::session
