// The sets of numbers that plugins publish (hostloom/stats.h). Control thread.
#pragma once
#include <cstdint>
#include <deque>
#include <string>

#include <hostloom/stats.h>
#include <hostloom/status.h>

namespace loom {

class StatsRegistry {
 public:
  struct Registered {
    uint64_t id;  // never used again
    StatSet set;
    std::string owner;
  };
  // Errors: kInvalid, a description that cannot be; kExists, another set has the prefix.
  Result<void> add(const StatSet&, std::string owner);
  void remove_of(const std::string& owner);
  const std::deque<Registered>& sets() const noexcept { return sets_; }

 private:
  std::deque<Registered> sets_;
  uint64_t next_id_ = 1;
};

}  // namespace loom
