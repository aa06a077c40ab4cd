// The reassembly nodes, for net.cc to register, and what they hold on each worker.
#pragma once
#include <hostloom/interface.h>
#include <hostloom/node.h>

namespace loom {

struct NetState;
struct NetWorker;

extern const NodeInfo kIp4Reassembly, kIp6Reassembly;

void make_reassembly(NetWorker&);
// Drops datagrams of which a fragment came by that interface, on every worker; kNoIndex: all.
// Control thread.
void flush_reassembly(NetState&, IfIndex rx_if);

}  // namespace loom
