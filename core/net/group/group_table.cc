#include "net/group/group_table.h"

#include <algorithm>
#include <iterator>

namespace loom {
namespace {

// RFC 3376 section 3.2: who excludes fewest decides, and what others include is not excluded.
GroupState merged(const std::map<uint64_t, GroupState>& sockets) {
  GroupState all;
  for (const auto& [socket, s] : sockets) {
    if (!s.is_exclude) continue;
    if (!all.is_exclude) {
      all = s;
      continue;
    }
    std::erase_if(all.sources, [&](const IpAddress& a) { return !s.sources.contains(a); });
  }
  for (const auto& [socket, s] : sockets) {
    if (s.is_exclude) continue;
    for (const IpAddress& a : s.sources)
      if (all.is_exclude)
        all.sources.erase(a);
      else
        all.sources.insert(a);
  }
  // Of more than one packet can say of it nobody is left out.
  if (all.sources.size() > kMaxGroupSources) all = {.is_exclude = true, .sources = {}};
  return all;
}

}  // namespace

Result<std::unique_ptr<GroupTable>> GroupTable::create() {
  auto table = Table::create({.buckets = 256});
  if (!table) return table.error();
  auto t = std::make_unique<GroupTable>();
  t->table_ = std::move(*table);
  return t;
}

Status GroupTable::listen(uint64_t socket, const GroupId& id, const GroupFilter& filter) {
  if (filter.sources.size() > kMaxGroupSources) return Status::kNoMemory;
  const std::lock_guard lock(mutex_);
  auto at = groups_.find(id);
  if (filter.is_nobody()) {
    if (at == groups_.end() || at->second.erase(socket) == 0) return Status::kOk;
    if (at->second.empty()) {
      (void)table_->del(key_of(id.interface, id.group));
      groups_.erase(at);
      n_groups_.store(groups_.size(), std::memory_order_relaxed);
    }
    return Status::kOk;
  }
  if (at == groups_.end()) {
    if (groups_.size() == kMaxGroups) return Status::kNoMemory;
    if (table_->add(key_of(id.interface, id.group), 1) != Status::kOk) return Status::kNoMemory;
    at = groups_.try_emplace(id).first;
    n_groups_.store(groups_.size(), std::memory_order_relaxed);
  }
  if (at->second.size() == kMaxSocketsOfGroup && !at->second.contains(socket))
    return Status::kNoMemory;
  at->second[socket] = {.is_exclude = filter.is_exclude,
                        .sources = {filter.sources.begin(), filter.sources.end()}};
  return Status::kOk;
}

GroupState GroupTable::state(const GroupId& id) const {
  const std::lock_guard lock(mutex_);
  const auto at = groups_.find(id);
  return at == groups_.end() ? GroupState{} : merged(at->second);
}

std::vector<IpAddress> GroupTable::groups_of(IfIndex interface) const {
  const std::lock_guard lock(mutex_);
  std::vector<IpAddress> all;
  for (const auto& [id, sockets] : groups_)
    if (id.interface == interface) all.push_back(id.group);
  return all;
}

void GroupTable::forget(IfIndex interface) {
  const std::lock_guard lock(mutex_);
  for (auto at = groups_.begin(); at != groups_.end();) {
    if (at->first.interface != interface) {
      ++at;
      continue;
    }
    (void)table_->del(key_of(interface, at->first.group));
    at = groups_.erase(at);
  }
  n_groups_.store(groups_.size(), std::memory_order_relaxed);
}

}  // namespace loom
