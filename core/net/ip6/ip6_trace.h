// What the IPv6 nodes record of a traced packet.
#pragma once
#include <string>

#include <hostloom/node.h>

namespace loom {

// Records the header at the packet's data, when there is one.
void trace_ip6(NodeRuntime& rt, Buffer& b) noexcept;
void format_ip6_trace(const void* record, std::string& out);

}  // namespace loom
