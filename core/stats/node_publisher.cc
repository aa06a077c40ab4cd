// /sys/node/{names,clocks,vectors,calls,suspends} by worker and node, /nodes/NAME/... the same by
// name. Since the start: `clear runtime` is a view of the command line. Nodes here never suspend;
// the column is there because VPP's clients ask for it, and stays 0.
#include "graph/engine.h"
#include "stats/publisher.h"

namespace loom {
namespace {

constexpr const char* kColumns[] = {"clocks", "vectors", "calls", "suspends"};
enum Column { kClocks, kVectors, kCalls };

class NodePublisher : public StatsPublisher {
 public:
  explicit NodePublisher(Engine& engine) : engine_(engine) {}

  Result<void> open(StatsSegment& segment) override {
    const auto names = segment.add_names("/sys/node/names");
    if (!names) return names.error();
    names_ = *names;
    for (std::size_t i = 0; i < std::size(kColumns); ++i) {
      const auto id =
          segment.add_simple(std::string("/sys/node/") + kColumns[i], engine_.n_workers(), 0);
      if (!id) return id.error();
      ids_[i] = *id;
    }
    return {};
  }

  Result<void> publish(StatsSegment& segment, const StatsTick&) override {
    const Result<void> added = add_new(segment);
    for (uint32_t w = 0; w < engine_.n_workers(); ++w) {
      for (uint32_t n = 0; n < n_published_; ++n) {
        const NodeStats s = engine_.stats().node(w, static_cast<NodeId>(n));
        segment.set(ids_[kClocks], w, n, s.clocks);
        segment.set(ids_[kVectors], w, n, s.packets);
        segment.set(ids_[kCalls], w, n, s.calls);
      }
    }
    return added;
  }

 private:
  // Nodes are never removed.
  Result<void> add_new(StatsSegment& segment) {
    const auto n_nodes = static_cast<uint32_t>(engine_.nodes().size());
    if (n_published_ == n_nodes) return {};
    StatsSegment::Change change(segment);
    for (; n_published_ < n_nodes; ++n_published_) {
      const uint32_t n = n_published_;
      const std::string name = engine_.nodes()[static_cast<NodeId>(n)].info.name;
      std::vector<SymlinkWanted> links;
      for (std::size_t i = 0; i < std::size(kColumns); ++i) {
        if (auto ok = segment.widen(ids_[i], n + 1); !ok) return ok;
        links.push_back({"/nodes/" + stat_path_part(name) + "/" + kColumns[i], ids_[i], n});
      }
      if (auto ok = segment.set_name(names_, n, name); !ok) return ok;
      if (const auto ids = add_symlinks(segment, links); !ids) return ids.error();
    }
    return {};
  }

  Engine& engine_;
  StatsSegment::Id names_ = StatsSegment::kNone;
  StatsSegment::Id ids_[std::size(kColumns)] = {};
  uint32_t n_published_ = 0;
};

}  // namespace

std::unique_ptr<StatsPublisher> publish_nodes(Engine& engine) {
  return std::make_unique<NodePublisher>(engine);
}

}  // namespace loom
