#include "graph/features.h"

#include <algorithm>

#include "graph/engine.h"

namespace loom {
namespace {

constexpr std::size_t kMaxListEntries = 0xffff;  // Buffer::feature_index has 16 bits
constexpr std::size_t kMaxArcs = 0xff;           // Buffer::feature_arc has 8 bits, 0 = none

std::vector<std::string> split_names(const char* list) {
  std::vector<std::string> names;
  std::string_view rest = list ? list : "";
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    std::string_view name = rest.substr(0, comma);
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

}  // namespace

FeatureArcs::FeatureArcs(Engine& engine)
    : engine_(engine), lists_(std::make_unique<NodeId[]>(kMaxListEntries + 1)) {
  lists_[0] = kNoNode;
}

FeatureArc* FeatureArcs::find(std::string_view name) const {
  for (const auto& arc : arcs_)
    if (arc->name_ == name) return arc.get();
  return nullptr;
}

FeatureArc& FeatureArcs::arc(std::string_view name) {
  if (FeatureArc* found = find(name)) return *found;
  LOOM_CHECK(arcs_.size() < kMaxArcs);
  auto arc = std::make_unique<FeatureArc>();
  arc->name_ = name;
  arc->id_ = static_cast<uint8_t>(arcs_.size() + 1);
  arc->lists_ = lists_.get();
  FeatureArc& made = *arc;
  engine_.with_barrier([&] { arcs_.push_back(std::move(arc)); });
  return made;
}

Result<void> FeatureArcs::add(const FeatureInfo& info) {
  if (info.struct_size < sizeof(FeatureInfo) || !info.arc || !info.node)
    return error(Status::kInvalid, "a feature without an arc or a node, or of an unknown version");
  FeatureArc& on = arc(info.arc);
  for (const auto& f : on.features_)
    if (f.node == info.node)
      return error(Status::kExists,
                   "feature '" + f.node + "' is on arc '" + on.name_ + "' already");
  on.features_.push_back({.node = info.node,
                          .before = split_names(info.before),
                          .after = split_names(info.after),
                          .enabled = {}});
  auto sorted = sort(on);
  if (!sorted) on.features_.pop_back();  // sort() has left the order as it was
  return sorted;
}

// Kahn's algorithm; among features that may come next, the one that was registered first. When none
// may, the rest holds a cycle, which the message walks through.
Result<void> FeatureArcs::sort(FeatureArc& arc) {
  const auto& f = arc.features_;
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const auto must_precede = [&](std::size_t a, std::size_t b) {
    return has(f[a].before, f[b].node) || has(f[b].after, f[a].node);
  };
  std::vector<std::size_t> order;
  std::vector<bool> placed(f.size());
  const auto blocker =
      [&](std::size_t i) {  // a feature that has to come before i and is not placed
        for (std::size_t j = 0; j < f.size(); ++j)
          if (!placed[j] && must_precede(j, i)) return j;
        return f.size();
      };
  while (order.size() < f.size()) {
    std::size_t pick = f.size(), stuck = f.size();
    for (std::size_t i = 0; i < f.size() && pick == f.size(); ++i) {
      if (placed[i]) continue;
      if (blocker(i) == f.size())
        pick = i;
      else
        stuck = i;
    }
    if (pick == f.size()) {
      std::size_t on_cycle = stuck;
      for (std::size_t i = 0; i < f.size(); ++i) on_cycle = blocker(on_cycle);
      std::string cycle = f[on_cycle].node;
      std::size_t at = on_cycle;
      do {
        at = blocker(at);
        cycle += " after " + f[at].node;
      } while (at != on_cycle);
      return error(Status::kInvalid, "arc '" + arc.name_ + "': no order is possible: " + cycle);
    }
    placed[pick] = true;
    order.push_back(pick);
  }
  std::vector<FeatureArc::Feature> sorted;
  for (const std::size_t i : order) sorted.push_back(std::move(arc.features_[i]));
  arc.features_ = std::move(sorted);
  return {};
}

Result<uint16_t> FeatureArcs::intern(const std::vector<NodeId>& nodes) {
  if (nodes.empty()) return uint16_t{0};
  if (const auto at = interned_.find(nodes); at != interned_.end()) return at->second;
  if (lists_used_ + nodes.size() + 1 > kMaxListEntries)
    return error(Status::kNoMemory, "too many different sets of features have been enabled");
  const auto first = static_cast<uint16_t>(lists_used_);
  for (const NodeId id : nodes) lists_[lists_used_++] = id;
  lists_[lists_used_++] = kNoNode;
  interned_.emplace(nodes, first);
  return first;
}

// Makes what is enabled on the interface the list that packets walk.
Result<void> FeatureArcs::compile(FeatureArc& arc, IfIndex interface) {
  std::vector<NodeId> nodes;
  for (const auto& f : arc.features_) {
    if (!std::binary_search(f.enabled.begin(), f.enabled.end(), interface)) continue;
    const NodeId id = engine_.find_node(f.node);
    if (id == kNoNode || !engine_.nodes()[id].info.run)
      return error(Status::kNotFound, "feature '" + f.node + "' has no node that takes packets");
    nodes.push_back(id);
  }
  Result<void> result;
  engine_.with_barrier([&] {
    const auto first = intern(nodes);
    if (!first) {
      result = first.error();
      return;
    }
    if (interface >= arc.heads_.size()) arc.heads_.resize(interface + 1);
    arc.heads_[interface] = *first;
  });
  return result;
}

Result<void> FeatureArcs::enable(std::string_view arc_name, std::string_view node,
                                 IfIndex interface, bool enable) {
  FeatureArc* arc = find(arc_name);
  if (!arc) return error(Status::kNotFound, "no feature arc '" + std::string(arc_name) + "'");
  // Indexes are small and dense; this one would become the size of an array.
  if (interface > 0xffff)
    return error(Status::kInvalid, "no interface " + std::to_string(interface));
  const auto f = std::find_if(arc->features_.begin(), arc->features_.end(),
                              [&](const auto& feature) { return feature.node == node; });
  if (f == arc->features_.end())
    return error(Status::kNotFound,
                 "no feature '" + std::string(node) + "' on arc '" + std::string(arc_name) + "'");
  const auto at = std::lower_bound(f->enabled.begin(), f->enabled.end(), interface);
  const bool is_enabled = at != f->enabled.end() && *at == interface;
  if (is_enabled == enable) return {};
  const auto before = f->enabled;
  if (enable)
    f->enabled.insert(at, interface);
  else
    f->enabled.erase(at);
  auto compiled = compile(*arc, interface);
  if (!compiled) f->enabled = before;
  return compiled;
}

void FeatureArcs::forget_interface(IfIndex interface) {
  engine_.with_barrier([&] {
    for (auto& arc : arcs_) {
      for (auto& f : arc->features_) std::erase(f.enabled, interface);
      if (interface < arc->heads_.size()) arc->heads_[interface] = 0;
    }
  });
}

std::vector<FeatureArcs::Enabled> FeatureArcs::enabled() const {
  std::vector<Enabled> all;
  for (const auto& arc : arcs_)
    for (const auto& f : arc->features_)
      for (const IfIndex i : f.enabled) all.push_back({arc->name_, f.node, i});
  return all;
}

std::vector<std::string> FeatureArcs::names() const {
  std::vector<std::string> names;
  for (const auto& arc : arcs_) names.push_back(arc->name_);
  return names;
}

std::vector<std::string> FeatureArcs::order(std::string_view name) const {
  std::vector<std::string> nodes;
  if (const FeatureArc* arc = find(name))
    for (const auto& f : arc->features_) nodes.push_back(f.node);
  return nodes;
}

}  // namespace loom
