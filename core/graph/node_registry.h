// The nodes of a graph by name and number, and their arcs. Numbers are dense and never reused;
// nodes are never removed. Thread: control; workers read infos and arcs only through NodeRuntime.
#pragma once
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/node.h>
#include <hostloom/status.h>

namespace loom {

constexpr std::size_t kMaxNodes = 1024;

class NodeRegistry {
 public:
  struct Node {
    NodeInfo info;                    // a copy, cut to what the node's struct_size covers
    std::vector<NodeId> next;         // by local next index
    std::vector<std::string> wanted;  // names of next that are declared, by local next index
  };

  Result<NodeId> add(const NodeInfo&);
  NodeId find(std::string_view name) const;
  std::size_t size() const noexcept { return nodes_.size(); }
  const Node& operator[](NodeId id) const { return nodes_[id]; }
  Node& operator[](NodeId id) { return nodes_[id]; }
  // Looks up the declared names; an arc to a node that is not there leads to `missing`. Returns the
  // first such arc as an error.
  Result<void> resolve(NodeId missing);
  Result<uint16_t> add_next(NodeId from, NodeId to);

 private:
  std::deque<Node> nodes_;
  std::map<std::string, NodeId, std::less<>> by_name_;
};

}  // namespace loom
