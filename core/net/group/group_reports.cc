#include "net/group/group_reports.h"

#include <algorithm>
#include <iterator>

#include "net/ip6/ip6_address.h"
#include "net/state.h"

namespace loom {
namespace {

bool is_reported(const IpAddress& group) noexcept {
  if (group.is_ip4) return group != IpAddress(Ip4Address{{224, 0, 0, 1}});
  return group.ip6() != all_nodes() && (group.bits.bytes[1] & 0x0f) > 1;
}

// From now to `within` later.
TimeNs soon(Worker& w, TimeNs within) noexcept {
  const auto range = static_cast<uint64_t>(std::max<TimeNs>(within, 1));
  return w.now + 1 + static_cast<TimeNs>(w.random() % range);
}

void at_most(TimeNs& due, TimeNs when) noexcept {
  if (due == 0 || when < due) due = when;
}

std::set<IpAddress> minus(const std::set<IpAddress>& a, const std::set<IpAddress>& b) {
  std::set<IpAddress> rest;
  std::ranges::set_difference(a, b, std::inserter(rest, rest.end()));
  return rest;
}

}  // namespace

bool GroupReports::is_of_address(const GroupId& id) const {
  const auto at = of_addresses_.find(id.interface);
  return at != of_addresses_.end() && at->second.contains(id.group);
}

// Of everybody, if it is an address's, whatever a socket would leave out.
GroupState GroupReports::wanted(const GroupId& id) const {
  return is_of_address(id) ? GroupState{.is_exclude = true, .sources = {}} : net_.groups->state(id);
}

void GroupReports::addresses_changed(Worker& w, IfIndex interface) {
  const Interface* f = net_.interfaces.find(interface);
  if (!f) return;
  std::set<IpAddress> now;
  for (const InterfaceAddress& a : f->address_view().ip6)
    if (!a.is_duplicate) now.insert(IpAddress(solicited_node_of(a.prefix.address.ip6())));
  const std::set<IpAddress> before = std::exchange(of_addresses_[interface], now);
  for (const IpAddress& group : minus(now, before)) changed(w, {interface, group});
  for (const IpAddress& group : minus(before, now)) changed(w, {interface, group});
}

void GroupReports::changed(Worker& w, const GroupId& id) {
  if (!is_reported(id.group)) return;
  const GroupState now = wanted(id);
  Entry& e = entries_[id];
  if (now == e.told) {
    if (now.is_nobody() && e.n_left == 0) entries_.erase(id);
    return;
  }
  // RFC 3376 section 5.1: what is still to be told of an earlier change is told with this one.
  const bool is_pending = e.n_left != 0;
  e.is_mode_change = now.is_exclude != e.told.is_exclude || (is_pending && e.is_mode_change);
  if (e.is_mode_change) {
    e.change = {{now.is_exclude ? GroupRecord::kToEx : GroupRecord::kToIn, now.sources}};
  } else {
    const auto more = minus(now.sources, e.told.sources),
               fewer = minus(e.told.sources, now.sources);
    std::set<IpAddress> allowed = now.is_exclude ? fewer : more;
    std::set<IpAddress> blocked = now.is_exclude ? more : fewer;
    for (const Record& r : is_pending ? std::exchange(e.change, {}) : std::vector<Record>{}) {
      const bool is_allow = r.type == GroupRecord::kAllow;
      const std::set<IpAddress> still = minus(r.sources, is_allow ? blocked : allowed);
      (is_allow ? allowed : blocked).insert(still.begin(), still.end());
    }
    e.change.clear();
    if (!allowed.empty()) e.change.push_back({GroupRecord::kAllow, std::move(allowed)});
    if (!blocked.empty()) e.change.push_back({GroupRecord::kBlock, std::move(blocked)});
  }
  e.told = now;
  e.n_left = kRobustness;
  tell_change(w, id, e);
  if (e.change_at != 0)
    due(w, e.change_at);
  else if (e.told.is_nobody() && e.answer_at == 0)
    entries_.erase(id);
}

bool GroupReports::can_tell(const GroupId& id) const {
  const Interface* f = net_.interfaces.find(id.interface);
  return f && f->is_up() && f->is_ethernet;
}

// Without a buffer it is tried again; what nobody can be told now, came_up() tells.
void GroupReports::tell_change(Worker& w, const GroupId& id, Entry& e) {
  if (!can_tell(id)) {
    e.n_left = 0;
    e.change_at = 0;
    return;
  }
  const uint8_t v = version(w, id.interface, id.group.is_ip4);
  bool is_told = true;
  if (v == 3) {
    for (const Record& r : e.change)
      is_told &= send_group_report(w, id.interface, id.group, r.type, r.sources);
  } else if (!e.told.is_nobody()) {
    is_told = send_old_group_report(w, id.interface, id.group, v, false);
  } else if (v == 2) {
    is_told = send_old_group_report(w, id.interface, id.group, v, true);
  }
  if (is_told) --e.n_left;
  e.change_at = e.n_left == 0 ? 0 : soon(w, kUnsolicitedInterval);
}

// Within the time between two reports, as all hosts of a link may come up together; but before the
// solicitations of duplicate address detection.
void GroupReports::came_up(Worker& w, IfIndex interface) {
  for (auto& [id, e] : entries_) {
    if (id.interface != interface || e.told.is_nobody()) continue;
    e.change = {{e.told.is_exclude ? GroupRecord::kToEx : GroupRecord::kToIn, e.told.sources}};
    e.is_mode_change = true;
    e.n_left = kRobustness;
    if (is_of_address(id))
      tell_change(w, id, e);
    else
      e.change_at = soon(w, kUnsolicitedInterval);
    if (e.change_at != 0) due(w, e.change_at);
  }
}

void GroupReports::tell_state(Worker& w, const GroupId& id, const GroupState& s) {
  const uint8_t v = version(w, id.interface, id.group.is_ip4);
  if (v != 3)
    (void)send_old_group_report(w, id.interface, id.group, v, false);
  else
    (void)send_group_report(w, id.interface, id.group,
                            s.is_exclude ? GroupRecord::kIsEx : GroupRecord::kIsIn, s.sources);
}

uint8_t GroupReports::version(Worker& w, IfIndex interface, bool is_ip4) const {
  const auto at = links_.find({interface, is_ip4});
  if (at == links_.end()) return 3;
  if (w.now < at->second.v1_until) return 1;
  return w.now < at->second.v2_until ? 2 : 3;
}

// RFC 3376 section 5.2. A query about sources is answered with all of the group's.
void GroupReports::query(Worker& w, const GroupQuery& q) {
  const bool is_ip4 = q.group.is_ip4;
  if (!net_.interfaces.find(q.interface)) return;
  if (q.version < 3) {
    Link& link = links_[{q.interface, is_ip4}];
    (q.version == 1 ? link.v1_until : link.v2_until) = w.now + kOlderQuerier;
  }
  if (q.is_general && q.version < 3) {  // RFC 2236 section 3: each group at its own time
    for (auto& [id, e] : entries_) {
      if (id.interface != q.interface || id.group.is_ip4 != is_ip4 || e.told.is_nobody()) continue;
      at_most(e.answer_at, soon(w, std::max(q.max_response, kLeastResponse)));
      due(w, e.answer_at);
    }
    return;
  }
  const TimeNs when = soon(w, std::max(q.max_response, kLeastResponse));
  if (q.is_general) {
    at_most(links_[{q.interface, is_ip4}].general_at, when);
  } else if (const auto at = entries_.find({q.interface, q.group});
             at != entries_.end() && !at->second.told.is_nobody()) {
    at_most(at->second.answer_at, when);
  }
  due(w, when);
}

void GroupReports::run(Worker& w) {
  for (auto& [id, link] : links_) {
    if (link.general_at == 0 || link.general_at > w.now) continue;
    link.general_at = 0;
    for (auto& [group, e] : entries_)
      if (group.interface == id.first && group.group.is_ip4 == id.second && !e.told.is_nobody())
        e.answer_at = w.now;
  }
  for (auto at = entries_.begin(); at != entries_.end();) {
    auto& [id, e] = *at;
    if (e.answer_at != 0 && e.answer_at <= w.now) {
      e.answer_at = 0;
      tell_state(w, id, e.told);
    }
    if (e.change_at != 0 && e.change_at <= w.now) tell_change(w, id, e);
    at = e.told.is_nobody() && e.change_at == 0 ? entries_.erase(at) : std::next(at);
  }
  for (const auto& [id, link] : links_)
    if (link.general_at != 0) due(w, link.general_at);
  for (const auto& [id, e] : entries_)
    for (const TimeNs at : {e.change_at, e.answer_at})
      if (at != 0) due(w, at);
}

void GroupReports::fired(Worker& w, Timer& t) noexcept {
  static_cast<decltype(timer_)&>(t).self->run(w);
}

void GroupReports::due(Worker& w, TimeNs when) {
  if (timer_.is_running() && next_ <= when) return;
  timer_.self = this;
  timer_.fired = fired;
  next_ = when;
  w.timer_start(timer_, when);
}

void GroupReports::forget(IfIndex interface) {
  std::erase_if(entries_, [&](const auto& e) { return e.first.interface == interface; });
  std::erase_if(links_, [&](const auto& l) { return l.first.first == interface; });
  of_addresses_.erase(interface);
}

void GroupReports::stop(Worker& w) { w.timer_stop(timer_); }

}  // namespace loom
