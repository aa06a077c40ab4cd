// The link-layer nodes, for net.cc to register.
#pragma once
#include <hostloom/node.h>

namespace loom {

extern const NodeInfo kEthernetInput, kArpInput;

}  // namespace loom
