// The IPv4 nodes, for net.cc to register.
#pragma once
#include <hostloom/node.h>

namespace loom {

extern const NodeInfo kIp4Input, kIp4Lookup, kIp4Local, kIp4Rewrite, kIp4Fragment, kIcmp4Input,
    kIcmp4Error;

// Next indices that dynamic arcs (add_ip_protocol, add_icmp_error_handler) come after; 0 is "drop"
// in these nodes, so that an empty table entry is recognised.
constexpr uint16_t kNoProtocol = 0;

}  // namespace loom
