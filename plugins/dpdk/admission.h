// Which devices of software are let in, before DPDK is asked for them: those whose drivers can be
// kept from waiting for a peer where others wait with them. And whom one trusts that is let in.
#pragma once
#include <hostloom/status.h>

#include <string_view>

#include "burst_gate.h"
#include "config.h"

namespace loom::dpdk {

// The gate that its bursts are to pass; null: none (memif_guard.h). Errors say what is wrong, and
// what there is instead. Control thread, or the device's call thread.
Result<BurstGate*> admit(const DeviceConfig&, uint32_t n_workers);

// For the log, behind the interface's name; "": it trusts nobody with more than packets.
std::string_view trust_of(const DeviceConfig&) noexcept;

}  // namespace loom::dpdk
