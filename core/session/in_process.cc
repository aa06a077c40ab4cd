// What happens to a session of an in-process application is remembered in AppEnd::due and told at
// the end of the round, from notify.cc's flush: no callback ever runs inside a call of a transport
// or of an application. A session that the application knows is not freed before `closed` was said
// (let_go), so whatever a callback does, the session it is called for stays where it is.
// Worker, but for make_segment and end.
#include "session/in_process.h"
#include "session/listeners.h"

namespace loom::session {
namespace {

using Due = AppEnd::Due;

bool take(AppEnd& e, Due what) noexcept {
  const bool was = e.due & what;
  e.due &= static_cast<uint8_t>(~what);
  return was;
}

Status accepted(SessionWorker& sw, Listener&, Session& s, const Endpoints&, IfIndex) noexcept {
  s.app_end.due |= Due::kOpened;
  notify(sw, s, kNotifyRx);
  return Status::kOk;
}

void connected(SessionWorker& sw, Session& s, Status status, const Endpoints&) noexcept {
  s.app_end.outcome = static_cast<int16_t>(status);
  s.app_end.due |= Due::kOpened;
  notify(sw, s, kNotifyRx);
}

void lost(SessionWorker& sw, Session& s, ResetReason reason) noexcept {
  s.app_end.due |= Due::kReset;
  s.app_end.reason = reason;
  notify(sw, s, kNotifyRx);
}

// False: the session is gone.
bool tell_accepted(SessionWorker& sw, Session& s) noexcept {
  const AppOps& calls = app_of(s).calls;
  AppEnd& e = s.app_end;
  if (s.state != State::kAccepted) {  // reset before anybody was told: nobody is
    e.due = 0;
    free_session(sw, s);
    return false;
  }
  e.context = sw.layer->listener(s.listener)->app_context;  // its end aborts what was not told
  e.due |= Due::kKnown;  // the application may use the id at once
  const bool taken = calls.accepted && calls.accepted(*sw.worker, s.listener, s.id, &e.context);
  if (!taken) {
    e.due = 0;
    app_close(sw, s, true);
    return false;
  }
  if (s.state == State::kAccepted) s.state = State::kOpen;  // not when it was closed meanwhile
  return true;
}

bool is_readable(Session& s) noexcept {
  return s.shared && (reader_of(s).available() != 0 || (s.flags & kEof));
}

bool reclaim_tx(SessionWorker&, Session& s) noexcept {
  if (!s.shared) return false;
  auto tx = writer_of(s);
  if (!tx.holds_chunks()) return false;
  (void)tx.refresh();
  if (tx.used() == 0) (void)tx.reclaim();
  return tx.holds_chunks();
}

bool let_go(SessionWorker& sw, Session& s) noexcept {
  if (!(s.app_end.due & Due::kKnown)) return true;
  s.state = State::kClosing;
  s.app_end.due |= Due::kClosed;
  notify(sw, s, kNotifyRx);
  return false;
}

// Makes the callbacks that are due. The session may be gone on return.
void tell(SessionWorker& sw, Session& s, uint8_t what) noexcept {
  AppEnd& e = s.app_end;
  Worker& w = *sw.worker;
  if (!(e.due & (Due::kKnown | Due::kOpened))) return;  // nobody to tell, on its way out
  const AppOps& calls = app_of(s).calls;
  // After each callback: it may have closed the session.
  const auto is_open = [&] { return !(e.due & Due::kClosed); };
  if (take(e, Due::kOpened) && is_open()) {
    if (s.listener != kNoIndex) {
      if (!tell_accepted(sw, s)) return;
    } else {
      const auto outcome = static_cast<Status>(e.outcome);
      if (calls.connected) calls.connected(w, s.id, outcome, e.context);
      if (outcome != Status::kOk) e.due |= Due::kClosed;
    }
  }
  if (take(e, Due::kMoved) && is_open()) calls.moved(w, s.id, e.context);
  if (is_open() && (what & kNotifyRx) && !(e.due & Due::kPaused) && calls.readable &&
      is_readable(s))
    calls.readable(w, s.id, e.context);
  if (is_open() && e.writable_at != 0 && s.shared && (s.flags & kTransportUp) &&
      !(e.due & Due::kNoMemory) && writer_of(s).refresh() >= e.writable_at) {
    e.writable_at = 0;
    if (calls.writable) calls.writable(w, s.id, e.context);
  }
  if (take(e, Due::kReset) && is_open()) {
    if (calls.reset) calls.reset(w, s.id, e.reason, e.context);
    if (is_open()) end_session(sw, s, false);
  }
  if (!is_open()) say_closed(sw, s);
}

}  // namespace

void say_closed(SessionWorker& sw, Session& s) noexcept {
  AppEnd& e = s.app_end;
  e.due = 0;
  e.writable_at = 0;
  const AppOps& calls = app_of(s).calls;
  // The application may end the other end of a connection to itself now, and with it this one.
  const uint32_t generation = s.generation;
  if (calls.closed) calls.closed(*sw.worker, s.id, std::exchange(e.context, nullptr));
  if (s.generation != generation) return;
  if (!(s.flags & kTransportUp)) free_session(sw, s);  // else once the transport is done
}

void end_session(SessionWorker& sw, Session& s, bool abort) noexcept {
  s.app_end.due |= Due::kClosed;
  notify(sw, s, kNotifyRx);
  app_close(sw, s, abort || s.state == State::kConnecting);
}

void starved_tick(Worker& w, Timer&) noexcept {
  SessionWorker& sw = of(w);
  for (const SessionHandle h : std::exchange(sw.starved, {})) {
    const SessionId id = local_id(sw, h);
    if (!sw.pool.contains(id)) continue;
    Session& s = sw.pool.at(id);
    if (s.state == State::kMigrated || handle_of(sw, s) != h) continue;
    (void)take(s.app_end, Due::kNoMemory);
    notify(sw, s, kNotifyTx);
  }
  flush(sw);
}

namespace {

void end_all(Impl& layer, App& app) {
  app.condemned.store(true, std::memory_order_release);  // callbacks connect no more
  std::vector<Listener*> going;
  for (uint32_t i = 0; i < layer.n_listeners; ++i)
    if (Listener* l = layer.listener(i); l && l->app == &app) going.push_back(l);
  unlisten(layer, app, going);
  // Behind the first pass no session begins to move; those that are between two workers arrive.
  do pass_over_workers(layer);
  while (app.n_moving.load(std::memory_order_acquire) != 0);
  // Some slots a visit, so that the end of an application with very many stops nobody else. Those
  // that are closed already go on until what they have to send is sent.
  constexpr uint32_t kSlots = 1024;
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    for (uint32_t first = 0, end = 1; first < end; first += kSlots)
      layer.engine.run_on_worker(i, [&](Worker& w) {
        SessionWorker& sw = of(w);
        end = sw.pool.end();
        for (SessionId id = first; id < std::min(end, first + kSlots); ++id) {
          Session& s = sw.pool.at(id);
          if (s.state == State::kFree || s.state == State::kMigrated || s.app != &app ||
              !(s.app_end.due & Due::kKnown))
            continue;
          if (!(s.app_end.due & Due::kClosed)) end_session(sw, s, true);
          say_closed(sw, s);
        }
      });
}

}  // namespace

const OwnerOps kInProcessOwner{
    .make_segment = svm::Segment::create_private,
    .in_this_process = true,
    .end = end_all,
    .accepted = accepted,
    .connected = connected,
    .lost = lost,
    .tell = tell,
    .reclaim_tx = reclaim_tx,
    .let_go = let_go,
};

}  // namespace loom::session
