#include "session/control.h"

#include <malloc.h>

#include <utility>

namespace loom::session {
namespace {

void reset(SessionWorker& sw, Session& s) {
  ops_of(sw, s)->abort(*sw.worker, s.conn);
  sw.worker->sessions->reset(*sw.worker, s.id, ResetReason::kAborted);
}

void fail_connect(SessionWorker& sw, Session& s) {
  ops_of(sw, s)->abort(*sw.worker, s.conn);
  sw.worker->sessions->connected(*sw.worker, s.id, Status::kRefused, {});
}

constexpr TimeNs kTrimEvery = 10 * kSecond;
constexpr double kGiveBackSeconds = 5.0;  // how often free spans go back to the kernel

// What an arena keeps for the next burst goes, too, once nothing has happened in it for a while.
// True: that is now.
bool give_back(App& app) {
  const auto now = app.arena.stats(), before = std::exchange(app.seen, now);
  const bool same = now.allocations == before.allocations &&
                    now.chunk_bytes == before.chunk_bytes &&
                    now.object_bytes == before.object_bytes;
  const bool has_come_to_rest = !std::exchange(app.rests, same) && same;
  if (has_come_to_rest)
    app.arena.give_back(true);
  else if (app.arena.wants_give_back())
    app.arena.give_back();
  if (app.owner->in_this_process && has_come_to_rest)
    while (app.app_arena.give_back() != 0) {}
  return has_come_to_rest;
}

void give_back(Impl& layer) {
  layer.give_back_waits = false;
  if (layer.stopped) return;
  bool has_come_to_rest = false;
  for (auto& app : layer.apps)
    if (app) has_come_to_rest |= give_back(*app);
  layer.flows->give_back();
  // Lists of sessions, grown while there were many. It stops whoever allocates meanwhile: rarely.
  // Twice, as others free theirs after the first has come to rest.
  if (has_come_to_rest) layer.trims_due = 2;
  if (const TimeNs now = layer.engine.clock_now(); layer.trims_due != 0 && now >= layer.trim_at) {
    malloc_trim(0);
    --layer.trims_due;
    layer.trim_at = now + kTrimEvery;
  }
  reap_pairs(layer);
  give_back_later(layer);
}

}  // namespace

void give_back_later(Impl& layer) {
  if (std::exchange(layer.give_back_waits, true)) return;
  layer.loop.after(kGiveBackSeconds, [&layer] { give_back(layer); });
}

bool list_sessions_of(Impl& l, uint32_t worker, const App& app, std::vector<ListedSession>& out) {
  out.reserve(kMostListed);
  bool goes_on = true, is_whole = false;
  while (std::exchange(goes_on, false))
    l.engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      const SessionList& list = app.sessions[worker];
      if (list.size > kMostListed) return;
      SessionId id = list.first;
      if (!out.empty()) {
        const Session* last = out.back().find(sw, app);
        if (!last) return;
        id = last->app_next;
      }
      const TimeNs until = l.engine.clock_now() + kSliceTime;
      for (uint32_t n = 0; id != kNoSession; id = sw.pool.at(id).app_next) {
        if (out.size() == kMostListed) return;
        if (++n % kSliceLook == 0 && (goes_on = l.engine.clock_now() >= until)) return;
        out.push_back({id, sw.pool.at(id).generation});
      }
      is_whole = true;
    });
  return is_whole;
}

void tell_successors(Impl& l, uint32_t worker, const AppWorker& gone,
                     const std::deque<SessionId>& waiting) {
  in_slices(l, worker, [&, at = std::size_t{0}](SessionWorker& sw) mutable {
    if (at == waiting.size()) return false;
    Session& s = sw.pool.at(waiting[at++]);
    if (s.untold == 0 || s.untold_to != gone.index || s.app != gone.app) return true;
    s.untold = 0;
    notify(sw, s, kNotifyRx | kNotifyForce);
    return true;
  });
}

Status reset_session(Impl& l, SessionHandle handle) {
  return with_session(l, handle, [](SessionWorker& sw, Session& s) {
    if (!(s.flags & kTransportUp) || s.state == State::kConnecting) return Status::kNotConnected;
    reset(sw, s);
    return Status::kOk;
  });
}

Status migrate_session(Impl& l, SessionHandle handle, uint32_t worker) {
  return with_session(l, handle,
                      [worker](SessionWorker& sw, Session& s) { return migrate(sw, s, worker); });
}

uint64_t reset_all_sessions(Impl& l, bool connecting) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < l.engine.n_workers(); ++i)
    for_each_session(l, i, [&](SessionWorker& sw, Session& s) {
      if (!(s.flags & kTransportUp)) return;
      if (s.state != State::kConnecting)
        reset(sw, s);
      else if (connecting)
        fail_connect(sw, s);
      else
        return;
      ++n;
    });
  return n;
}

}  // namespace loom::session
