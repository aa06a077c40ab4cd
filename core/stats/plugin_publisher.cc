// PREFIX/NAME of the sets that plugins registered: counters by worker, in one column; gauges as one
// number, summed over the workers.
#include <algorithm>

#include "stats/publisher.h"
#include "stats/stats_registry.h"

namespace loom {
namespace {

class PluginPublisher : public StatsPublisher {
 public:
  PluginPublisher(StatsRegistry& registry, uint32_t n_workers)
      : registry_(registry), n_workers_(n_workers) {}

  Result<void> open(StatsSegment&) override { return {}; }

  Result<void> publish(StatsSegment& segment, const StatsTick&) override {
    Result<void> result;
    // Whose plugin was refused or unloaded: its function must not be called any more.
    std::erase_if(shown_, [&](const Shown& s) {
      const auto& sets = registry_.sets();
      if (std::any_of(sets.begin(), sets.end(), [&](const auto& r) { return r.id == s.id; }))
        return false;
      remove(segment, s);
      return true;
    });
    for (const auto& r : registry_.sets()) {
      if (auto ok = show(segment, r); !ok) {
        if (result) result = ok;
        continue;
      }
      copy(segment, r);
    }
    return result;
  }

 private:
  struct Shown {
    uint64_t id;
    std::vector<StatsSegment::Id> entries;  // by statistic; kNone: its name is taken
  };

  const Shown* find(uint64_t id) const {
    const auto it =
        std::find_if(shown_.begin(), shown_.end(), [&](const Shown& s) { return s.id == id; });
    return it == shown_.end() ? nullptr : &*it;
  }

  static void remove(StatsSegment& segment, const Shown& s) {
    StatsSegment::Change change(segment);
    for (const auto id : s.entries) segment.remove(id);
  }

  Result<void> show(StatsSegment& segment, const StatsRegistry::Registered& r) {
    if (find(r.id)) return {};
    StatsSegment::Change change(segment);
    Shown s{.id = r.id, .entries = {}};
    for (const StatInfo& stat : r.set.stats) {
      const std::string name = std::string(r.set.prefix) + "/" + stat.name;
      const auto id = stat.kind == StatKind::kGauge ? segment.add_scalar(name)
                                                    : segment.add_simple(name, n_workers_, 1);
      if (!id && id.error().code == Status::kNoMemory) {
        remove(segment, s);
        return id.error();
      }
      s.entries.push_back(id ? *id : StatsSegment::kNone);
    }
    shown_.push_back(std::move(s));
    return {};
  }

  void copy(StatsSegment& segment, const StatsRegistry::Registered& r) {
    const Shown& s = *find(r.id);
    std::vector<uint64_t> sums(r.set.stats.size()), values(r.set.stats.size());
    for (uint32_t w = 0; w < n_workers_; ++w) {
      std::fill(values.begin(), values.end(), 0);
      r.set.read(r.set.context, w, values);
      for (std::size_t i = 0; i < values.size(); ++i) {
        sums[i] += values[i];
        if (s.entries[i] != StatsSegment::kNone && r.set.stats[i].kind == StatKind::kCounter)
          segment.set(s.entries[i], w, 0, values[i]);
      }
    }
    for (std::size_t i = 0; i < sums.size(); ++i)
      if (s.entries[i] != StatsSegment::kNone && r.set.stats[i].kind == StatKind::kGauge)
        segment.set(s.entries[i], sums[i]);
  }

  StatsRegistry& registry_;
  uint32_t n_workers_;
  std::vector<Shown> shown_;
};

}  // namespace

std::unique_ptr<StatsPublisher> publish_plugins(StatsRegistry& registry, uint32_t n_workers) {
  return std::make_unique<PluginPublisher>(registry, n_workers);
}

}  // namespace loom
