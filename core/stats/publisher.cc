#include "stats/publisher.h"

#include <algorithm>

namespace loom {

std::string stat_path_part(std::string_view name) {
  std::string part(name);
  std::replace(part.begin(), part.end(), '/', '_');
  return part;
}

Result<std::vector<StatsSegment::Id>> add_symlinks(StatsSegment& segment,
                                                   const std::vector<SymlinkWanted>& wanted) {
  StatsSegment::Change change(segment);
  std::vector<StatsSegment::Id> ids;
  for (const SymlinkWanted& w : wanted) {
    const auto id = segment.add_symlink(w.name, w.target, w.column);
    if (id) {
      ids.push_back(*id);
    } else if (id.error().code == Status::kNoMemory) {
      for (const auto added : ids) segment.remove(added);
      return id.error();
    }
  }
  return ids;
}

}  // namespace loom
