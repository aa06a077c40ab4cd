// The engine's commands: show runtime, errors, node counters, buffers, threads, graph, features,
// trace; trace add, pcap trace; and the clears. Thread: control.
#pragma once
#include <hostloom/host.h>

namespace loom {

class Engine;

// The commands refer to the engine and live in it.
Result<void> register_graph_commands(Host&, Engine&);

}  // namespace loom
