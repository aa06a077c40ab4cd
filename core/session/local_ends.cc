#include "session/local_ends.h"

#include <algorithm>

namespace loom::session {
namespace {

uint64_t key_of(const LocalEnd& e) noexcept {
  return uint64_t{e.place.at.fib_index} << 24 | uint64_t{e.protocol} << 16 | e.place.at.local_port;
}

uint64_t holder_of(const LocalEnd& e) noexcept {
  constexpr uint64_t kListens = 1ull << 63;
  return e.listens ? kListens | e.listener : e.bound;
}

// Whether there is an address that both have.
bool overlap(const Place& a, const Place& b) noexcept {
  const IpAddress &x = a.at.local, &y = b.at.local;
  if (x.is_ip4 == y.is_ip4) return x == y || x.is_zero() || y.is_zero();
  return x.is_ip4 ? b.dual_stack : a.dual_stack;
}

// The one that is there comes first.
bool may_share(const LocalEnd& there, const LocalEnd& asked) noexcept {
  PortShare share = there.share;
  if (there.listens) share.reuseaddr = false;
  return agree(share, asked.share);
}

}  // namespace

bool LocalEnds::is_free(const LocalEnd& asked, bool alone) const noexcept {
  const auto port = ports_.find(key_of(asked));
  return port == ports_.end() || std::ranges::none_of(port->second, [&](const auto& each) {
           const LocalEnd& there = each.second;
           if (asked.bound != 0 && asked.bound == there.bound) return false;
           // Of another namespace only the same end: who has asked for less is not in the way of
           // who has asked for more.
           if (there.share.ns != asked.share.ns && there.place.at.local != asked.place.at.local)
             return false;
           return overlap(there.place, asked.place) && (alone || !may_share(there, asked));
         });
}

void LocalEnds::add(const LocalEnd& e) { ports_[key_of(e)].emplace(holder_of(e), e); }

void LocalEnds::remove(const LocalEnd& e) noexcept {
  const auto port = ports_.find(key_of(e));
  if (port == ports_.end()) return;
  const auto [first, last] = port->second.equal_range(holder_of(e));
  const auto at = std::find_if(first, last, [&](const auto& u) { return u.second == e; });
  if (at != last) port->second.erase(at);
  if (port->second.empty()) ports_.erase(port);
}

}  // namespace loom::session
