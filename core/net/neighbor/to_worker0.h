// Packets that only worker 0 handles (ARP, neighbour discovery, groups, packets that wait for a
// neighbour), on the worker that has received or made them.
#pragma once
#include <hostloom/worker.h>

#include "net/state.h"

namespace loom {

// As many go on to wait when worker 0 does not keep up: what it has to do besides must not keep it
// from hearing neighbours. More would wait without a limit, which is not for what anybody can send.
// A frame of them: one burst of a device.
constexpr uint32_t kMostBehind = 256;

// Takes the packet to `node` of worker 0; any other worker. False: too many wait already, and it
// stays the caller's, to be dropped. One that refers to an application's bytes is copied on the
// way, and without a buffer for that dropped and counted by "worker-handoff".
inline bool take_to_worker0(Worker& w, NodeId node, Buffer* packet) noexcept {
  NetWorker& own = net_worker(w);
  if (!own.state->engine.hand_off_waits(w.index, 0))
    own.n_behind = 0;
  else if (++own.n_behind > kMostBehind)
    return own.n_behind = kMostBehind, false;
  w.hand_off(0, node, {&packet, 1});
  return true;
}

}  // namespace loom
