// Packets that only worker 0 handles (ARP, neighbour discovery, groups, packets that wait for a
// neighbour), on the worker that has received or made them.
#pragma once
#include <hostloom/worker.h>

#include "net/state.h"

namespace loom {

// Takes the packet to `node` of worker 0; any other worker. False, and it stays the caller's, to be
// dropped: worker 0 does not keep up, and what waits for it waits without a limit, which is not for
// what anybody can send.
inline bool take_to_worker0(Worker& w, NodeId node, Buffer* packet) noexcept {
  if (net_state(w).engine.hand_off_waits(w.index, 0)) return false;
  w.hand_off(0, node, {&packet, 1});
  return true;
}

}  // namespace loom
