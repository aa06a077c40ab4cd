// Nodes of this folder.
#pragma once
#include <hostloom/node.h>

namespace loom {
extern const NodeInfo kIgmpInput, kMldInput;
}  // namespace loom
