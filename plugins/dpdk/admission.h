// Which devices of software are let in, before DPDK is asked for them: those whose drivers can be
// kept from waiting for a peer where others wait with them, and that trust no peer with more than
// packets, unless the operator does.
#pragma once
#include <hostloom/status.h>

#include <string>

#include "burst_gate.h"
#include "config.h"

namespace loom::dpdk {

// The gate that its bursts are to pass; null: none (memif_guard.h). Errors say what is wrong, and
// what there is instead. Control thread, or the device's call thread.
Result<BurstGate*> admit(const DeviceConfig&, uint32_t n_workers);

// Before that. Its driver gives its peer the daemon's memory, and nobody has said that the peer is
// trusted: kPermission, with what there is to be done. Control thread.
Result<void> check_trust(const DeviceConfig&);

// Whom it trusts with that, for the log; "": nobody.
std::string trust_of(const DeviceConfig&);

}  // namespace loom::dpdk
