// /if/names, /if/{rx,tx} (packets and bytes) and /if/{drops,rx-error,tx-error} by worker and
// interface; /interfaces/NAME/... the same by name. The name of an interface that has gone reads
// "deleted", as in VPP, so that the positions of the others stay.
#include "net/interface/interface.h"
#include "net/net.h"
#include "stats/publisher.h"

namespace loom {
namespace {

enum Stat { kRx, kTx, kDrops, kRxError, kTxError, kStatCount };
constexpr const char* kNames[kStatCount] = {"rx", "tx", "drops", "rx-error", "tx-error"};

uint64_t read(const uint64_t& counter) { return __atomic_load_n(&counter, __ATOMIC_RELAXED); }

class InterfacePublisher : public StatsPublisher {
 public:
  InterfacePublisher(Net& net, uint32_t n_workers) : net_(net), n_workers_(n_workers) {}

  Result<void> open(StatsSegment& segment) override {
    const auto names = segment.add_names("/if/names");
    if (!names) return names.error();
    names_ = *names;
    for (int i = 0; i < kStatCount; ++i) {
      const std::string name = std::string("/if/") + kNames[i];
      const auto id = i <= kTx ? segment.add_combined(name, n_workers_, 0)
                               : segment.add_simple(name, n_workers_, 0);
      if (!id) return id.error();
      ids_[i] = *id;
    }
    return {};
  }

  Result<void> publish(StatsSegment& segment, const StatsTick&) override {
    Result<void> result;
    for (Shown& s : shown_) s.is_seen = false;
    net_.visit_interfaces([&](const Interface& f) {
      if (auto ok = show(segment, f); !ok) {
        if (result) result = ok;
        return;
      }
      copy(segment, f);
    });
    for (uint32_t i = 0; i < shown_.size(); ++i)
      if (!shown_[i].is_seen) hide(segment, i);
    return result;
  }

 private:
  struct Shown {
    std::string name;  // "" = nothing is shown at this index
    std::vector<StatsSegment::Id> links;
    bool is_seen = false;
  };

  // The interface has its columns, its name and its symlinks.
  Result<void> show(StatsSegment& segment, const Interface& f) {
    if (f.index < shown_.size() && shown_[f.index].name == f.name) {
      shown_[f.index].is_seen = true;
      return {};
    }
    StatsSegment::Change change(segment);
    if (f.index < shown_.size()) hide(segment, f.index);  // another one took its index
    std::vector<SymlinkWanted> links;
    for (int i = 0; i < kStatCount; ++i) {
      if (auto ok = segment.widen(ids_[i], f.index + 1); !ok) return ok;
      links.push_back(
          {"/interfaces/" + stat_path_part(f.name) + "/" + kNames[i], ids_[i], f.index});
    }
    if (auto ok = segment.set_name(names_, f.index, f.name); !ok) return ok;
    auto added = add_symlinks(segment, links);
    if (!added) return added.error();
    if (shown_.size() <= f.index) shown_.resize(f.index + 1);
    shown_[f.index] = {.name = f.name, .links = std::move(*added), .is_seen = true};
    return {};
  }

  void hide(StatsSegment& segment, uint32_t index) {
    Shown& s = shown_[index];
    if (s.name.empty()) return;
    StatsSegment::Change change(segment);
    for (const auto id : s.links) segment.remove(id);
    (void)segment.set_name(names_, index, "deleted");  // without room the old name stays
    for (uint32_t w = 0; w < n_workers_; ++w) {
      for (int i = 0; i <= kTx; ++i) segment.set(ids_[i], w, index, stats::Combined{});
      for (int i = kDrops; i < kStatCount; ++i) segment.set(ids_[i], w, index, uint64_t{0});
    }
    s = {};
  }

  void copy(StatsSegment& segment, const Interface& f) {
    for (uint32_t w = 0; w < n_workers_; ++w) {
      const InterfaceCounters &rx = f.counters[w].rx, &tx = f.counters[w].tx;
      segment.set(ids_[kRx], w, f.index, {read(rx.packets), read(rx.bytes)});
      segment.set(ids_[kTx], w, f.index, {read(tx.packets), read(tx.bytes)});
      segment.set(ids_[kDrops], w, f.index, read(rx.drops) + read(tx.drops));
      segment.set(ids_[kRxError], w, f.index, read(rx.errors));
      segment.set(ids_[kTxError], w, f.index, read(tx.errors));
    }
  }

  Net& net_;
  uint32_t n_workers_;
  StatsSegment::Id names_ = StatsSegment::kNone;
  StatsSegment::Id ids_[kStatCount] = {};
  std::vector<Shown> shown_;  // by interface index
};

}  // namespace

std::unique_ptr<StatsPublisher> publish_interfaces(Net& net, uint32_t n_workers) {
  return std::make_unique<InterfacePublisher>(net, n_workers);
}

}  // namespace loom
