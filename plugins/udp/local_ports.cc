#include "local_ports.h"

#include <algorithm>
#include <new>
#include <utility>

namespace loom::udp {
namespace {

// Sockets of two namespaces in one table meet as hosts do that have been given the same address.
bool may_share(const LocalEnd& a, const LocalEnd& b) noexcept {
  if (a.owner.ns != b.owner.ns) return false;
  return (a.reuseaddr && b.reuseaddr) || (a.reuseport && b.reuseport && a.owner.uid == b.owner.uid);
}

// Whether there is an address that both have.
bool overlap(const LocalEnd& a, const LocalEnd& b) noexcept {
  if (a.address == b.address) return true;
  // Of another namespace only the same end: who has asked for less is not in the way of who has
  // asked for more.
  if (a.owner.ns != b.owner.ns) return false;
  if (a.address.is_ip4 == b.address.is_ip4) return a.address.is_zero() || b.address.is_zero();
  return a.address.is_ip4 ? b.dual_stack : a.dual_stack;
}

}  // namespace

Status LocalPorts::Table::enter(const LocalEnd& e) noexcept {
  const auto [first, last] = users_.equal_range(e.port);
  const auto same = std::find_if(first, last, [&](const auto& u) { return u.second.end == e; });
  if (same != last) {
    ++same->second.n;
  } else {
    try {
      // Of many, no open is to wait while all are put elsewhere.
      if (users_.size() == kFew) users_.reserve(n_.size());
      users_.emplace(e.port, Users{e, 1});
    } catch (const std::bad_alloc&) {
      return Status::kNoMemory;
    }
  }
  n_[e.port].fetch_add(1, std::memory_order_relaxed);
  return Status::kOk;
}

Status LocalPorts::Table::take(const LocalEnd& e) noexcept {
  const std::lock_guard lock(mutex_);
  const auto [first, last] = users_.equal_range(e.port);
  const bool is_taken = std::any_of(first, last, [&](const auto& u) {
    return overlap(u.second.end, e) && !may_share(u.second.end, e);
  });
  return is_taken ? Status::kInUse : enter(e);
}

Status LocalPorts::Table::take_free(LocalEnd& e, PortSearch& s) noexcept {
  const std::lock_guard lock(mutex_);
  if (full_n_ == s.n && full_first_ == s.first) return Status::kInUse;
  const bool is_all = s.tried == 0;
  while (s.tried < s.n) {
    if (s.tried == s.kPatience && !std::exchange(s.has_tried_latest, true) &&
        static_cast<uint16_t>(latest_free_ - s.first) < s.n && count(latest_free_) == 0) {
      e.port = latest_free_;
      return enter(e);
    }
    e.port = static_cast<uint16_t>(s.first + (s.start + s.tried++) % s.n);
    if (count(e.port) == 0) return enter(e);
  }
  if (is_all) {
    full_first_ = s.first;
    full_n_ = s.n;
  }
  return Status::kInUse;
}

Status LocalPorts::Table::add(const LocalEnd& e) noexcept {
  const std::lock_guard lock(mutex_);
  return enter(e);
}

void LocalPorts::Table::remove(const LocalEnd& e) noexcept {
  const std::lock_guard lock(mutex_);
  const auto [first, last] = users_.equal_range(e.port);
  const auto at = std::find_if(first, last, [&](const auto& u) { return u.second.end == e; });
  if (at == last) return;
  if (--at->second.n == 0) users_.erase(at);
  if (n_[e.port].fetch_sub(1, std::memory_order_relaxed) != 1) return;
  full_n_ = 0;
  latest_free_ = e.port;
}

LocalPorts::Table* LocalPorts::of(uint32_t fib_index) noexcept {
  std::atomic<Table*>& place = tables_[fib_index % kMostFibs];
  Table* there = place.load(std::memory_order_acquire);
  if (there) return there;
  std::unique_ptr<Table> made(new (std::nothrow) Table);
  if (made && place.compare_exchange_strong(there, made.get(), std::memory_order_acq_rel))
    return made.release();
  return there;  // another worker's
}

}  // namespace loom::udp
