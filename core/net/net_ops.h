// The table behind Worker::net.
#pragma once
#include <hostloom/net.h>

namespace loom {

struct NetState;
NetOps net_ops(NetState& state);

}  // namespace loom
