// What DPDK 22.11's net_memif needs so that a peer that goes away harms nobody (decision 18). The
// driver has EAL's interrupt thread call it when a peer says something, or is gone; its functions
// for that come to us instead, and:
// - no worker is in one of its bursts while it opens, closes, maps, unmaps, frees;
// - it frees nothing that EAL still calls it with: a connection whose peer had hung up before it
//   was greeted, the socket of a device that is deleted, and who was connected to that socket and
//   had not said more;
// - it waits for no peer: one that takes no connection, or reads no answers, is given up.
#pragma once
#include "burst_gate.h"

#include <hostloom/status.h>

namespace loom::dpdk {

// Of a device that EAL shall make: whether net_memif drives it.
bool is_memif(std::string_view device) noexcept;

// Before EAL makes the first device of the driver's; later calls find it done. For as long as the
// process lives, as EAL. What each worker's bursts pass. Control thread. Errors: of
// redirect_imports, the driver is another one than this was written for: it is not to be used; a
// later call tries again. What is redirected runs on the thread on which the driver is called, the
// control thread or EAL's; EAL's calls, and so the gate's close and open, on EAL's alone, the "one
// thread at a time" of BurstGate. Call threads are in no driver that is redirected.
Result<BurstGate*> guard_memif(uint32_t n_workers);

}  // namespace loom::dpdk
