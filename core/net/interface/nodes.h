// The interface nodes, for net.cc to register.
#pragma once
#include <hostloom/node.h>

namespace loom {

extern const NodeInfo kInterfaceInput, kInterfaceOutput, kInterfaceTx, kTxOffload;

}  // namespace loom
