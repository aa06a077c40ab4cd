// The MTU of a path, which one worker has heard of, told to the others. Private to plugins/udp/.
#pragma once
#include "udp.h"

namespace loom::udp {

// A router has said that of the way to a destination: notes it, and tells the other workers, if it
// is news to this one.
void learn_path_mtu(UdpWorker&, const IpAddress& to, uint32_t fib_index, uint32_t mtu) noexcept;

extern const NodeInfo kUdpPathMtu;

}  // namespace loom::udp
