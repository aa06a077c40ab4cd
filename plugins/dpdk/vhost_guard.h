// What DPDK 22.11's net_vhost needs so that a peer that stalls holds up no other's. One thread of
// librte_vhost's hears all peers of all devices, and waits for the rest of a message that has begun
// for as long as its sender likes, as for one that does not read its answers; who deletes a device
// may wait for that thread, as does a worker that sends to a peer whose message is being handled,
// and answered. Here it waits kPatienceMs for the rest of a message, and for an answer to be taken
// it does not wait; then that peer is hung up on.
#pragma once
#include <hostloom/status.h>

#include "config.h"

namespace loom::dpdk {

// Whether it is net_vhost's, or has one inside.
bool is_vhost(const DeviceConfig&) noexcept;

// Before EAL makes the first such device; later calls find it done. For as long as the process
// lives. Control thread. Errors: of redirect_imports, the library is another one than this was
// written for.
Result<void> guard_vhost();

}  // namespace loom::dpdk
