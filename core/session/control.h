// What the control thread does to sessions by itself: visits, resets, lists. Private to
// core/session/. Control thread.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

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
        if (Session& s = sw.pool.at(id); s.state != State::kFree && s.state != State::kMigrated)
          fn(sw, s);
    });
}

// On the worker: fn(Session&) for each session that the application has there now and that fn has
// not ended before its turn, as closing one may free another: its other end.
template <class Fn>
void for_each_session_of(SessionWorker& sw, const App& app, Fn&& fn) {
  std::vector<std::pair<SessionId, uint32_t>> all;
  for (SessionId id = app.sessions[sw.worker->index].first; id != kNoSession;) {
    const Session& s = sw.pool.at(id);
    all.emplace_back(id, s.generation);
    id = s.app_next;
  }
  for (const auto& [id, generation] : all)
    if (Session& s = sw.pool.at(id); s.generation == generation) fn(s);
}

// Runs fn(SessionWorker&, Session&) -> Status on the worker of the session with that handle.
// kNotFound: there is none, or no more. kUnsupported: it is a listener's.
template <class Fn>
Status with_session(Impl& l, SessionHandle handle, Fn&& fn) {
  if (handle_worker(handle) == kListenerWorker) {
    const Listener* x = l.listener(handle_index(handle));
    return x && x->handle() == handle ? Status::kUnsupported : Status::kNotFound;
  }
  Status status = Status::kNotFound;
  // Where it was opened is known for good where it lives now; it may move between the two looks.
  uint32_t worker = handle_worker(handle);
  for (int looks = 0; looks < 8 && worker < l.workers.size(); ++looks) {
    uint32_t next = handle_worker(handle);
    bool elsewhere = false;
    l.engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      const SessionId id = local_id(sw, handle);
      if (!sw.pool.contains(id)) {
        elsewhere = w.index != next;
        return;
      }
      Session& s = sw.pool.at(id);
      if (s.state == State::kFree || handle_of(sw, s) != handle) return;
      if (s.state == State::kMigrated) {
        elsewhere = true;
        next = s.lives_on;
      } else {
        status = fn(sw, s);
      }
    });
    if (!elsewhere) break;
    worker = next;
  }
  return status;
}

// The peer gets RST, the application an error. kNotFound, kUnsupported: see with_session.
// kNotConnected: it has no peer, or none yet.
Status reset_session(Impl&, SessionHandle);
// All that have a peer; with `connecting`, connects that are under way fail as well. How many.
uint64_t reset_all_sessions(Impl&, bool connecting);

// The session goes to that worker soon; see migrate.h. kNotFound, kInvalid: no such worker.
Status migrate_session(Impl&, SessionHandle, uint32_t worker);

inline const char* app_state(const App& a) noexcept {
  return a.detached ? "detached" : a.owner->in_this_process ? "in-process" : "attached";
}

// Mode, timeout, events; see session_layer.h.
constexpr uint32_t kMaxDrainTimeout = 7 * 24 * 3600;  // seconds
void set_drain(Impl&, bool enable, uint32_t timeout_s);
DrainStatus drain_status(const Impl&);
std::span<const CliCommand> drain_commands();  // without context
std::span<const CliCommand> rule_commands();   // the same; rules_cli.cc

}  // namespace loom::session
