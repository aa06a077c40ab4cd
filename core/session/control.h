// What the control thread does to sessions by itself: visits, resets, lists. Private to
// core/session/. Control thread.
#pragma once
#include <algorithm>

#include "session/impl.h"

namespace loom::session {

// Slots looked at in one visit to a worker: it must not stand still for long.
constexpr uint32_t kSlice = 4096;

// Visits the sessions of a worker in slices; fn(SessionWorker&, Session&) runs on the worker.
template <class Fn>
void for_each_session(Impl& l, uint32_t worker, Fn&& fn) {
  for (uint32_t from = 0, end = 1; from < end; from += kSlice)
    l.engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      end = sw.pool.end();
      for (uint32_t id = from; id < std::min(from + kSlice, end); ++id)
        if (Session& s = sw.pool.at(id); s.state != State::kFree) fn(sw, s);
    });
}

// Runs fn(SessionWorker&, Session&) -> Status on the worker of the session with that handle.
// kNotFound: there is none, or no more. kUnsupported: it is a listener's.
template <class Fn>
Status with_session(Impl& l, SessionHandle handle, Fn&& fn) {
  if (handle_worker(handle) == kListenerWorker) {
    const Listener* x = l.listener(handle_index(handle));
    return x && x->handle() == handle ? Status::kUnsupported : Status::kNotFound;
  }
  if (handle_worker(handle) >= l.workers.size()) return Status::kNotFound;
  Status status = Status::kNotFound;
  l.engine.run_on_worker(handle_worker(handle), [&](Worker& w) {
    SessionWorker& sw = of(w);
    if (!sw.pool.contains(handle_index(handle))) return;
    Session& s = sw.pool.at(handle_index(handle));
    if (s.state != State::kFree && handle_of(sw, s) == handle) status = fn(sw, s);
  });
  return status;
}

// The peer gets RST, the application an error. kNotFound, kUnsupported: see with_session.
// kNotConnected: it has no peer, or none yet.
Status reset_session(Impl&, SessionHandle);
// All that have a peer; with `connecting`, connects that are under way fail as well. How many.
uint64_t reset_all_sessions(Impl&, bool connecting);

// Mode, timeout, events; see session_layer.h.
constexpr uint32_t kMaxDrainTimeout = 7 * 24 * 3600;  // seconds
void set_drain(Impl&, bool enable, uint32_t timeout_s);
DrainStatus drain_status(const Impl&);
std::span<const CliCommand> drain_commands();  // without context

}  // namespace loom::session
