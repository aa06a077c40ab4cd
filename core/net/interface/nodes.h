// The interface nodes, for net.cc to register.
#pragma once
#include <hostloom/node.h>

namespace loom {

struct Worker;

// For SleepHook::before: false while the worker has a queue that only polling can find packets in.
bool may_sleep(Worker& w, void*) noexcept;

extern const NodeInfo kInterfaceInput, kInterfaceOutput, kInterfaceTx, kTxOffload;

}  // namespace loom
