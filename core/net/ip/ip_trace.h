// What the IP nodes record of a traced packet.
#pragma once
#include <string>

#include "net/ip/version.h"

namespace loom {

// Records the header at the packet's data, when there is one.
template <class Ip>
void trace_ip(NodeRuntime& rt, Buffer& b) noexcept;
template <class Ip>
void format_ip_trace(const void* record, std::string& out);

extern template void trace_ip<V4>(NodeRuntime&, Buffer&) noexcept;
extern template void trace_ip<V6>(NodeRuntime&, Buffer&) noexcept;
extern template void format_ip_trace<V4>(const void*, std::string&);
extern template void format_ip_trace<V6>(const void*, std::string&);

}  // namespace loom
