// Which groups this host listens to by which interface, and from whom (RFC 3376 section 3.1, RFC
// 3810 section 4). What the sockets of one interface want is merged into what the interface wants.
//
// Threads: any. Looking for a group takes no lock; everything else takes one, and is rare.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include <hostloom/net.h>

#include "hash/bihash.h"

namespace loom {

// What an interface wants of a group: all but the sources, or them alone. {false, {}}: nothing.
struct GroupState {
  bool is_exclude = false;
  std::set<IpAddress> sources;
  bool is_nobody() const noexcept { return !is_exclude && sources.empty(); }
  friend bool operator==(const GroupState&, const GroupState&) = default;
};

struct GroupId {
  IfIndex interface;
  IpAddress group;
  friend auto operator<=>(const GroupId&, const GroupId&) = default;
};

class GroupTable {
 public:
  static constexpr std::size_t kMaxGroups = 4096, kMaxSocketsOfGroup = 4096;

  static Result<std::unique_ptr<GroupTable>> create();

  bool hears(IfIndex interface, const IpAddress& group) const noexcept {
    return n_groups_.load(std::memory_order_relaxed) != 0 && table_->find(key_of(interface, group));
  }
  // As NetOps::listen_group, for an interface that exists.
  Status listen(uint64_t socket, const GroupId&, const GroupFilter&);
  GroupState state(const GroupId&) const;
  // Those of one interface.
  std::vector<IpAddress> groups_of(IfIndex) const;
  // The interface is gone, and its number will be another's.
  void forget(IfIndex);

 private:
  using Table = Bihash<24>;
  using Sockets = std::map<uint64_t, GroupState>;
  static Table::Key key_of(IfIndex interface, const IpAddress& group) noexcept {
    Table::Key k{0, 0, uint64_t{interface} << 1 | (group.is_ip4 ? 1 : 0)};
    std::memcpy(k.data(), group.bits.bytes.data(), 16);
    return k;
  }

  mutable std::mutex mutex_;
  std::unique_ptr<Table> table_;
  std::atomic<std::size_t> n_groups_{0};
  std::map<GroupId, Sockets> groups_;
};

}  // namespace loom
