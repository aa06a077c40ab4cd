// /node/errors by worker and number, /err/NODE/COUNTER the same by name: every counter of every
// node, also those that count what went well, as VPP has it. Since the start.
#include "graph/engine.h"
#include "stats/publisher.h"

namespace loom {
namespace {

class ErrorPublisher : public StatsPublisher {
 public:
  explicit ErrorPublisher(Engine& engine) : engine_(engine) {}

  Result<void> open(StatsSegment& segment) override {
    const auto id = segment.add_simple("/node/errors", engine_.n_workers(), 0);
    if (!id) return id.error();
    errors_ = *id;
    segment.set_error_rows(errors_);
    return {};
  }

  Result<void> publish(StatsSegment& segment, const StatsTick&) override {
    const Result<void> added = add_new(segment);
    for (uint32_t w = 0; w < engine_.n_workers(); ++w) {
      for (uint32_t n = 0; n < first_.size(); ++n) {
        const auto id = static_cast<NodeId>(n);
        const auto n_counters = static_cast<uint16_t>(engine_.nodes()[id].info.counters.size());
        for (uint16_t c = 0; c < n_counters; ++c)
          segment.set(errors_, w, first_[n] + c, engine_.stats().counter(w, id, c));
      }
    }
    return added;
  }

 private:
  Result<void> add_new(StatsSegment& segment) {
    const std::size_t n_nodes = engine_.nodes().size();
    if (first_.size() == n_nodes) return {};
    StatsSegment::Change change(segment);
    while (first_.size() < n_nodes) {
      const NodeInfo& info = engine_.nodes()[static_cast<NodeId>(first_.size())].info;
      const auto n_counters = static_cast<uint32_t>(info.counters.size());
      if (auto ok = segment.widen(errors_, n_slots_ + n_counters); !ok) return ok;
      std::vector<SymlinkWanted> links;
      for (uint32_t c = 0; c < n_counters; ++c)
        links.push_back(
            {"/err/" + stat_path_part(info.name) + "/" + stat_path_part(info.counters[c].name),
             errors_, n_slots_ + c});
      if (const auto ids = add_symlinks(segment, links); !ids) return ids.error();
      first_.push_back(n_slots_);
      n_slots_ += n_counters;
    }
    return {};
  }

  Engine& engine_;
  StatsSegment::Id errors_ = StatsSegment::kNone;
  std::vector<uint32_t> first_;  // by node: column of its first counter
  uint32_t n_slots_ = 0;
};

}  // namespace

std::unique_ptr<StatsPublisher> publish_errors(Engine& engine) {
  return std::make_unique<ErrorPublisher>(engine);
}

}  // namespace loom
