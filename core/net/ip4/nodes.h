// The IPv4 nodes, for net.cc to register.
#pragma once
#include <hostloom/node.h>

namespace loom {

extern const NodeInfo kIp4Input, kIp4Lookup, kIp4Local, kIp4Rewrite, kIp4Fragment, kIcmp4Input,
    kIcmp4Error;

}  // namespace loom
