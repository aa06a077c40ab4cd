// Feature arcs: points in the graph where a packet takes a detour through the nodes that were
// enabled on its interface, in a declared order, before it goes where it would have gone.
//
// A node that begins an arc asks start() for every packet; where nothing is enabled that is one
// load. Features pass packets on with kNextFeature. The lists of nodes that packets walk are
// interned and never change or go away, so a packet that a feature holds back (a delay line) finds
// its way on whatever was enabled or disabled meanwhile. Threads: start() and next() on workers;
// everything else on the control thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/host.h>
#include <hostloom/interface.h>
#include <hostloom/node.h>
#include <hostloom/status.h>

namespace loom {

class Engine;

class FeatureArc {
 public:
  // Where the packet goes first: kNextFeature when features are enabled on the interface, and then
  // the packet comes back to `default_next`'s node after the last of them; else default_next.
  uint16_t start(const NodeRuntime& rt, Buffer& b, IfIndex interface,
                 uint16_t default_next) const noexcept {
    const uint16_t first = interface < heads_.size() ? heads_[interface] : 0;
    if (first == 0) [[likely]]
      return default_next;
    LOOM_DCHECK(default_next < rt.n_next);
    b.feature_arc = id_;
    b.feature_index = first;
    b.feature_end = rt.next_nodes[default_next];
    return kNextFeature;
  }
  // The same for code that is not a node; the packet ends at `end`. Returns the first node.
  NodeId start_at(Buffer& b, IfIndex interface, NodeId end) const noexcept {
    const uint16_t first = interface < heads_.size() ? heads_[interface] : 0;
    if (first == 0) [[likely]]
      return end;
    b.feature_arc = id_;
    b.feature_index = first;
    b.feature_end = end;
    return next(b);
  }
  bool is_enabled(IfIndex interface) const noexcept {
    return interface < heads_.size() && heads_[interface] != 0;
  }
  const std::string& name() const noexcept { return name_; }
  // Takes the packet one step along its arc.
  NodeId next(Buffer& b) const noexcept {
    const NodeId node = lists_[b.feature_index];
    if (node != kNoNode) {
      ++b.feature_index;
      return node;
    }
    b.feature_arc = 0;
    return b.feature_end;
  }

 private:
  friend class FeatureArcs;
  struct Feature {
    std::string node;
    std::vector<std::string> before, after;
    std::vector<IfIndex> enabled;  // sorted
  };
  std::string name_;
  uint8_t id_ = 0;
  const NodeId* lists_ = nullptr;
  std::vector<uint16_t> heads_;    // by interface: first index into lists_, 0 = nothing enabled
  std::vector<Feature> features_;  // in the order of the arc
};

class FeatureArcs {
 public:
  explicit FeatureArcs(Engine&);
  // The arc of that name; made at the first call. The reference is good as long as the engine.
  FeatureArc& arc(std::string_view name);
  // Errors: kExists; kInvalid, the order would have a cycle (the message shows it). The arc may be
  // started by nobody yet. Names in before and after that are no features (yet) are ignored.
  Result<void> add(const FeatureInfo&);
  // Enables or disables a feature on one interface. Packets that begin the arc after the return
  // take the new way; the few that are inside it walk to the end of the old one. Errors: kNotFound;
  // kNoMemory, more different lists than 16 bits can number. Enabling twice is no error.
  Result<void> enable(std::string_view arc, std::string_view node, IfIndex, bool enable);
  // The interface is gone: nothing is enabled on its index any more.
  void forget_interface(IfIndex);

  struct Enabled {
    std::string arc, node;
    IfIndex interface;
  };
  std::vector<Enabled> enabled() const;                        // for listings
  std::vector<std::string> names() const;                      // of arcs
  std::vector<std::string> order(std::string_view arc) const;  // features of an arc, in order
  // One step of a packet that is in any arc.
  NodeId next(Buffer& b) const noexcept { return arcs_[b.feature_arc - 1]->next(b); }

 private:
  Result<void> sort(FeatureArc&);
  Result<uint16_t> intern(const std::vector<NodeId>& nodes);
  Result<void> compile(FeatureArc&, IfIndex);
  FeatureArc* find(std::string_view name) const;

  Engine& engine_;
  std::vector<std::unique_ptr<FeatureArc>> arcs_;  // [id - 1]
  std::unique_ptr<NodeId[]> lists_;                // each ends with kNoNode; [0] is not used
  uint32_t lists_used_ = 1;
  std::map<std::vector<NodeId>, uint16_t> interned_;
};

}  // namespace loom
