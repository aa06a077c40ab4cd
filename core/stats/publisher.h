// What fills the segment: one publisher a subject, each in a file of its own. A publisher adds
// entries for what has come, removes them for what has gone, and copies numbers. It reads workers'
// counters as they are and never asks a worker. Control thread.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include <hostloom/types.h>

#include "stats/segment.h"

namespace loom {

class Engine;
class Net;
class SessionLayer;
class StatsRegistry;

// One update of the segment.
struct StatsTick {
  TimeNs now = 0;
  double elapsed_s = 0;  // since the update before; 0 in the first
};

class StatsPublisher {
 public:
  virtual ~StatsPublisher() = default;
  // Makes the entries that are there for good. Errors: kNoMemory, the segment is too small.
  virtual Result<void> open(StatsSegment&) = 0;
  // An error concerns entries that there was no room for; it is tried again in the next update, and
  // everything else is up to date.
  virtual Result<void> publish(StatsSegment&, const StatsTick&) = 0;
};

std::unique_ptr<StatsPublisher> publish_system(Engine&);
std::unique_ptr<StatsPublisher> publish_nodes(Engine&);
std::unique_ptr<StatsPublisher> publish_errors(Engine&);
std::unique_ptr<StatsPublisher> publish_interfaces(Net&, uint32_t n_workers);
std::unique_ptr<StatsPublisher> publish_memory(Engine&);
std::unique_ptr<StatsPublisher> publish_sessions(SessionLayer&);
std::unique_ptr<StatsPublisher> publish_plugins(StatsRegistry&, uint32_t n_workers);

// --- What several of them do.

// A name as part of a path: '/' would begin a new part.
std::string stat_path_part(std::string_view name);
// Adds symlinks until one fails for lack of room; those of odd or taken names are left out. On an
// error none of them is there.
struct SymlinkWanted {
  std::string name;
  StatsSegment::Id target;
  uint32_t column;
};
Result<std::vector<StatsSegment::Id>> add_symlinks(StatsSegment&,
                                                   const std::vector<SymlinkWanted>&);

}  // namespace loom
