// What the IPv4 nodes record of a traced packet.
#pragma once
#include <string>

#include <hostloom/node.h>

namespace loom {

// Records the header at the packet's data, when there is one.
void trace_ip4(NodeRuntime& rt, Buffer& b) noexcept;
void format_ip4_trace(const void* record, std::string& out);

}  // namespace loom
