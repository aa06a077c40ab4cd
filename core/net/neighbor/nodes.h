// The neighbour nodes, for net.cc to register.
#pragma once
#include <hostloom/node.h>

namespace loom {

extern const NodeInfo kNeighborResolve, kNeighborTable;

}  // namespace loom
