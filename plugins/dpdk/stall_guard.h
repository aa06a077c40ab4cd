// What DPDK 22.11's net_af_packet and net_af_xdp need so that an interface of the kernel's that
// sends nothing keeps no worker. Once all slots to send are in use, net_af_packet's burst polls its
// socket without an end; net_af_xdp's tells the kernel to send until it has, and polls for a second
// where a card has no buffers to receive into. Here bursts ask, and go on.
#pragma once
#include <hostloom/status.h>
#include <poll.h>
#include <sys/types.h>

#include <cstddef>

#include "config.h"

namespace loom::dpdk {

// Before EAL makes such a device, alone or inside another; other devices are let pass, and later
// calls find it done. For as long as the process lives. Control thread. Errors: of
// redirect_imports, the library is another one than this was written for.
Result<void> guard_stalls(const DeviceConfig&);

// What the drivers call in their place; any thread.
namespace stall_guard {

// How often in a row a thread's send(2) is told to come again. A turn sends up to 32 packets of
// net_af_xdp's ring, so that these are more than a burst; what is left goes with the next one.
constexpr uint32_t kMostTurns = 16;

int poll(pollfd*, nfds_t, int timeout_ms) noexcept;  // does not wait
ssize_t send(int fd, const void*, std::size_t, int flags) noexcept;

}  // namespace stall_guard
}  // namespace loom::dpdk
