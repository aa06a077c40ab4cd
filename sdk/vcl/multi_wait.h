// poll() and select() over sessions, epoll sets and kernel descriptors together.
#pragma once
#include <span>

#include "vcl/app_worker.h"

namespace loom::vcl {

// One object to look at. `ready` is the answer.
struct WaitEntry {
  Object* object;
  uint32_t wanted;
  uint32_t ready;
};

// Waits until an entry or a kernel descriptor is ready, with poll(2)'s semantics. `kernel` has room
// for one more element behind its n_kernel. Number of entries and descriptors that are ready (each
// counted once), 0 at the deadline, or a negative errno; `ready` and `revents` are set.
// Looks before it sleeps: with something ready this takes no lock but the sessions' own.
int wait_many(AppWorker& worker, std::span<WaitEntry> entries, pollfd* kernel, nfds_t n_kernel,
              TimeNs timeout, const sigset_t* mask);

}  // namespace loom::vcl
