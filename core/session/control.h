// What the control thread does to sessions by itself: visits, resets, lists. Private to
// core/session/. Control thread.
#pragma once
#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "session/impl.h"

namespace loom::session {

// One visit to a worker, which must not stand still for long: so many slots, and so much time,
// looked at once in kSliceLook sessions.
constexpr uint32_t kSlice = 4096, kSliceLook = 32;
constexpr TimeNs kSliceTime = 250 * kMicrosecond;

// Runs step(SessionWorker&) -> bool on the worker until it says false, in slices.
template <class Step>
void in_slices(Impl& l, uint32_t worker, Step&& step) {
  bool goes_on = true;
  while (goes_on)
    l.engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      const TimeNs until = l.engine.clock_now() + kSliceTime;
      for (uint32_t n = 1; (goes_on = step(sw)); ++n)
        if (n % kSliceLook == 0 && l.engine.clock_now() >= until) return;
    });
}

// Visits the sessions of a worker in slices; fn(SessionWorker&, Session&) runs on the worker. What
// comes or moves there meanwhile may be missed.
template <class Fn>
void for_each_session(Impl& l, uint32_t worker, Fn&& fn) {
  uint32_t at = 0, end = 1;
  while (at < end) {
    l.engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      end = sw.pool.end();
      const uint32_t last = std::min(end - at, kSlice) + at;
      const TimeNs until = l.engine.clock_now() + kSliceTime;
      for (uint32_t n = 0; at < last; ++at) {
        if (++n % kSliceLook == 0 && l.engine.clock_now() >= until) break;
        Session& s = sw.pool.at(at);
        if (s.state != State::kFree && s.state != State::kMigrated) fn(sw, s);
      }
    });
  }
}

// A session as it was when it was listed: gone, or on another worker, if that is not it any more.
struct ListedSession {
  SessionId id = kNoSession;
  uint32_t generation = 0;
  // nullptr: it is not the application's here any more.
  Session* find(SessionWorker& sw, const App& app) const noexcept {
    Session& s = sw.pool.at(id);
    return s.generation == generation && s.app == &app && s.state != State::kMigrated ? &s
                                                                                      : nullptr;
  }
};
// Those that the application has on the worker, however many others there are; in slices.
void list_sessions_of(Impl&, uint32_t worker, const App&, std::vector<ListedSession>& out);

// fn(SessionWorker&, Session&) for each session that the application has on the worker; what is
// opened there meanwhile may be missed. A few are visited at once, many in slices.
template <class Fn>
void for_each_session_of(Impl& l, uint32_t worker, const App& app, Fn&& fn) {
  bool is_done = false;
  l.engine.run_on_worker(worker, [&](Worker& w) {
    SessionWorker& sw = of(w);
    const SessionList& list = app.sessions[worker];
    if (list.size > kSliceLook) return;
    // Closing one may free another: its other end.
    std::array<ListedSession, kSliceLook> all;
    std::size_t n = 0;
    for (SessionId id = list.first; id != kNoSession; id = sw.pool.at(id).app_next)
      all[n++] = {id, sw.pool.at(id).generation};
    for (const ListedSession& x : std::span(all).first(n))
      if (Session* s = x.find(sw, app)) fn(sw, *s);
    is_done = true;
  });
  if (is_done) return;
  std::vector<ListedSession> all;
  list_sessions_of(l, worker, app, all);
  in_slices(l, worker, [&, at = std::size_t{0}](SessionWorker& sw) mutable {
    if (at == all.size()) return false;
    if (Session* s = all[at++].find(sw, app)) fn(sw, *s);
    return true;
  });
}

// What waited for a process that has gone (AppPort::waiting) is told to whom its sessions belong
// now.
void tell_successors(Impl&, uint32_t worker, const AppWorker& gone,
                     const std::deque<SessionId>& waiting);

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
