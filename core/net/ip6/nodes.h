// The IPv6 nodes, for net.cc to register.
#pragma once
#include <hostloom/node.h>

namespace loom {

extern const NodeInfo kIp6Input, kIp6Lookup, kIp6Local, kIp6Rewrite, kIp6Fragment, kIcmp6Input,
    kIcmp6Neighbor, kIcmp6Error;

}  // namespace loom
