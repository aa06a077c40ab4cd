// The table behind Worker::net.
#pragma once
#include <hostloom/net.h>

namespace loom {

struct NetState;
NetOps net_ops(NetState& state);

// On a worker whose Worker::net is ours. The address of that interface to send to `destination`
// from, whatever way packets take. kUnreachable: it has none of the family, or has gone.
Status source_on(Worker&, IfIndex, const IpAddress& destination, IpAddress* out) noexcept;
bool has_address(Worker&, IfIndex, const IpAddress&) noexcept;
bool has_interface(Worker&, IfIndex) noexcept;

}  // namespace loom
