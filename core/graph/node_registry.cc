#include "graph/node_registry.h"

#include <algorithm>
#include <cstring>

namespace loom {

Result<NodeId> NodeRegistry::add(const NodeInfo& info) {
  // Older plugins bring shorter structs; this is the first version, so none is shorter yet.
  if (info.struct_size < sizeof(NodeInfo))
    return error(Status::kInvalid, "a node's NodeInfo has " + std::to_string(info.struct_size) +
                                       " bytes; the oldest known version has " +
                                       std::to_string(sizeof(NodeInfo)));
  if (!info.name || !*info.name) return error(Status::kInvalid, "a node without a name");
  if (by_name_.contains(std::string_view(info.name)))
    return error(Status::kExists, "node '" + std::string(info.name) + "' exists already");
  if (nodes_.size() == kMaxNodes)
    return error(Status::kNoMemory, "node '" + std::string(info.name) + "' is one more than the " +
                                        std::to_string(kMaxNodes) + " that a graph can have");
  const auto id = static_cast<NodeId>(nodes_.size());
  Node& node = nodes_.emplace_back();
  node.info =
      info;  // a newer plugin's struct is longer: what this version does not know is cut off
  node.info.struct_size = sizeof(NodeInfo);
  for (const char* next : info.next) {
    if (!next) break;
    node.wanted.emplace_back(next);
  }
  node.next.assign(node.wanted.size(), kNoNode);
  by_name_.emplace(info.name, id);
  return id;
}

NodeId NodeRegistry::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? kNoNode : at->second;
}

Result<void> NodeRegistry::resolve(NodeId missing) {
  Result<void> result;
  const auto refuse = [&](const Node& node, std::size_t arc, Status code, const char* why) {
    if (result)
      result = error(code, "node '" + std::string(node.info.name) + "': next node " +
                               std::to_string(arc) + ", '" + node.wanted[arc] + "', " + why);
  };
  for (Node& node : nodes_) {
    for (std::size_t arc = 0; arc < node.wanted.size(); ++arc) {
      NodeId to = find(node.wanted[arc]);
      if (to == kNoNode)
        refuse(node, arc, Status::kNotFound, "does not exist");
      else if (!nodes_[to].info.run)
        refuse(node, arc, Status::kInvalid, "takes no packets: it has no run function");
      if (to == kNoNode || !nodes_[to].info.run) to = missing;
      node.next[arc] = to;
    }
  }
  return result;
}

Result<uint16_t> NodeRegistry::add_next(NodeId from, NodeId to) {
  if (from >= nodes_.size() || to >= nodes_.size())
    return error(Status::kNotFound, "no node " + std::to_string(from >= nodes_.size() ? from : to));
  Node& node = nodes_[from];
  if (!nodes_[to].info.run)
    return error(Status::kInvalid, "node '" + std::string(node.info.name) + "': next node '" +
                                       nodes_[to].info.name +
                                       "' takes no packets: it has no run function");
  const auto at = std::find(node.next.begin(), node.next.end(), to);
  if (at != node.next.end()) return static_cast<uint16_t>(at - node.next.begin());
  if (node.next.size() == kNextFeature)
    return error(Status::kNoMemory,
                 "node '" + std::string(node.info.name) + "' has no room for another next node");
  node.next.push_back(to);
  return static_cast<uint16_t>(node.next.size() - 1);
}

}  // namespace loom
