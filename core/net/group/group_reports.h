// What routers and switches are told of the groups that this host listens to: IGMPv3 (RFC 3376) and
// MLDv2 (RFC 3810), host side, with their forerunners (RFC 2236, RFC 1112, RFC 2710) while a router
// speaks one of those.
//
// A change is told at once, and once more within a second (robustness 2); a query is answered at a
// random time within the one that it allows. 224.0.0.1, ff02::1, and groups that do not leave the
// host (scope 0 and 1) are not reported. The solicited-node groups of an interface's addresses are
// (RFC 3810 section 6): a switch that snoops would keep neighbour discovery from us otherwise.
//
// Threads: worker 0.
#pragma once
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <hostloom/timer.h>
#include <hostloom/worker.h>

#include "net/group/group_table.h"

namespace loom {

struct NetState;

// RFC 3376 section 4.2.12; the same in MLDv2.
enum class GroupRecord : uint8_t { kIsIn = 1, kIsEx, kToIn, kToEx, kAllow, kBlock };

struct GroupQuery {
  IfIndex interface = kNoIndex;
  IpAddress group;  // zero: general
  bool is_general = true;
  uint8_t version = 3;  // of IGMP; MLDv1 is 2 here, and MLDv2 is 3
  TimeNs max_response = 0;
};

class GroupReports {
 public:
  static constexpr unsigned kRobustness = 2;
  static constexpr TimeNs kUnsolicitedInterval = kSecond;
  // A query that allows less time than that would have everything told again and again.
  static constexpr TimeNs kLeastResponse = 100 * kMillisecond;
  // Robustness times a query interval of 125 s, and 10 s to answer (RFC 3376 section 8.12).
  static constexpr TimeNs kOlderQuerier = (kRobustness * 125 + 10) * kSecond;

  explicit GroupReports(NetState& s) : net_(s) {}
  // The table has changed.
  void changed(Worker&, const GroupId&);
  // The interface has other IPv6 addresses, and so listens to other solicited-node groups. Before
  // the addresses are asked for: the answers come to these groups (RFC 4862 section 5.4.2).
  void addresses_changed(Worker&, IfIndex);
  void query(Worker&, const GroupQuery&);
  // It can send now: whoever is behind it knows nothing of its groups. Those of its addresses are
  // told at once, as above.
  void came_up(Worker&, IfIndex);
  void forget(IfIndex);
  void stop(Worker&);  // before the worker goes

 private:
  struct Record {
    GroupRecord type;
    std::set<IpAddress> sources;
  };
  struct Entry {
    GroupState told;
    std::vector<Record> change;           // told again
    bool is_mode_change = false;          // `change` is of all that is wanted
    unsigned n_left = 0;                  // times that `change` is still to be told
    TimeNs change_at = 0, answer_at = 0;  // 0: not due
  };
  struct Link {  // of an interface, by family
    TimeNs general_at = 0;
    TimeNs v1_until = 0, v2_until = 0;
  };

  static void fired(Worker&, Timer&) noexcept;
  void run(Worker&);
  void due(Worker&, TimeNs when);  // there is something to do then, at the latest
  uint8_t version(Worker&, IfIndex, bool is_ip4) const;
  bool can_tell(const GroupId&) const;
  bool is_of_address(const GroupId&) const;
  GroupState wanted(const GroupId&) const;
  void tell_change(Worker&, const GroupId&, Entry&);
  void tell_state(Worker&, const GroupId&, const GroupState&);

  NetState& net_;
  struct : Timer {
    GroupReports* self = nullptr;
  } timer_;
  TimeNs next_ = 0;  // when the timer fires
  std::map<GroupId, Entry> entries_;
  std::map<IfIndex, std::set<IpAddress>> of_addresses_;  // solicited-node groups, in use
  std::map<std::pair<IfIndex, bool>, Link> links_;
};

// The packets themselves (group_packets.cc). False: no buffer, or the interface cannot.
bool send_group_report(Worker&, IfIndex, const IpAddress& group, GroupRecord,
                       const std::set<IpAddress>& sources);
// Of version 1 or 2 (MLDv1 is 2); is_leave: of version 2 only.
bool send_old_group_report(Worker&, IfIndex, const IpAddress& group, uint8_t version,
                           bool is_leave);

}  // namespace loom
