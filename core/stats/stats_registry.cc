#include "stats/stats_registry.h"

#include <algorithm>
#include <string_view>

#include "transport/ops_table.h"

namespace loom {
namespace {

constexpr std::size_t kMaxStats = 1024;  // of one set
constexpr std::size_t kMaxName = 64;     // prefix and name, each

bool is_name(const char* name) {
  const std::string_view text(name ? name : "");
  return !text.empty() && text.size() <= kMaxName && text.find_first_of(" \t\n") == text.npos;
}

}  // namespace

Result<void> StatsRegistry::add(const StatSet& set, std::string owner) {
  const auto full = full_size_copy(set, sizeof(StatSet));
  if (!full)
    return error(Status::kInvalid, "description of statistics of " +
                                       std::to_string(set.struct_size) +
                                       " bytes is not of any known version");
  if (!is_name(full->prefix) || full->prefix[0] != '/' ||
      std::string_view(full->prefix).ends_with('/'))
    return error(Status::kInvalid, std::string("statistics' prefix '") +
                                       (full->prefix ? full->prefix : "") +
                                       "' is not like \"/sys/NAME\"");
  const std::string prefix = full->prefix;
  if (!full->read) return error(Status::kInvalid, prefix + " has no function that reads it");
  if (full->stats.empty() || full->stats.size() > kMaxStats)
    return error(Status::kInvalid, prefix + " has " + std::to_string(full->stats.size()) +
                                       " statistics, not 1 to " + std::to_string(kMaxStats));
  for (const StatInfo& s : full->stats)
    if (!is_name(s.name))
      return error(Status::kInvalid,
                   prefix + ": '" + (s.name ? s.name : "") + "' is no name of a statistic");
  for (const Registered& r : sets_)
    if (prefix == r.set.prefix)
      return error(Status::kExists, "statistics " + prefix + " are registered already");
  sets_.push_back({next_id_++, *full, std::move(owner)});
  return {};
}

void StatsRegistry::remove_of(const std::string& owner) {
  std::erase_if(sets_, [&](const Registered& r) { return r.owner == owner; });
}

}  // namespace loom
