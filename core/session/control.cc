#include "session/control.h"

#include <malloc.h>

#include <algorithm>
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
constexpr uint64_t kWorthATrim = 256;  // sessions that have gone since the last one
// How often memory is looked after; less and less often while nothing happens; and soon, when more
// is to go back than goes in one look.
constexpr double kGiveBackSeconds = 5.0, kMostGiveBackSeconds = 40.0, kGoOnSeconds = 0.05;
constexpr int kGiveBackCalls = 4;  // for an application's chunks in one look, each with a bound

// What came of looking after memory.
struct Look {
  bool has_changed = false;  // something has happened since the last one
  bool has_come_to_rest = false;
  bool goes_on = false;
};

// What an arena keeps for the next burst goes, too, once nothing has happened in it for a while.
void give_back(App& app, Look& look) {
  const auto now = app.arena.stats(), before = std::exchange(app.seen, now);
  const bool same = now.allocations == before.allocations &&
                    now.chunk_bytes == before.chunk_bytes &&
                    now.object_bytes == before.object_bytes;
  const bool has_come_to_rest = !std::exchange(app.rests, same) && same;
  if (has_come_to_rest)
    app.arena.give_back(true);
  else if (app.arena.wants_give_back())
    app.arena.give_back();
  app.gives_chunks = same && (app.gives_chunks || (has_come_to_rest && app.owner->in_this_process));
  for (int i = 0; app.gives_chunks && i < kGiveBackCalls; ++i)
    app.gives_chunks = app.app_arena.give_back() != 0;
  look.has_changed |= !same || has_come_to_rest;
  look.has_come_to_rest |= has_come_to_rest;
  look.goes_on |= app.gives_chunks;
}

// What malloc keeps: lists of sessions, grown while there were many. It stops whoever allocates
// meanwhile, so only when many have gone, and seldom. Twice, as others free theirs later.
void trim(Impl& layer, Look& look) {
  uint64_t gone = 0;
  for (const auto& sw : layer.workers) gone += sw->pool.freed();
  const bool rests = std::exchange(layer.trim.seen, gone) == gone;
  look.has_changed |= !rests;
  if ((rests || look.has_come_to_rest) && gone - layer.trim.gone >= kWorthATrim) {
    layer.trim.due = 2;
    layer.trim.gone = gone;
  }
  if (layer.trim.due == 0) return;
  look.has_changed = true;
  const TimeNs now = layer.engine.clock_now();
  if (now < layer.trim.at) return;
  malloc_trim(0);
  --layer.trim.due;
  layer.trim.at = now + kTrimEvery;
}

void look_after_memory(Impl& layer);

void look_again_in(Impl& layer, double seconds) {
  if (std::exchange(layer.give_back_waits, true)) return;
  layer.loop.after(seconds, [&layer] { look_after_memory(layer); });
}

void look_after_memory(Impl& layer) {
  layer.give_back_waits = false;
  if (layer.stopped) return;
  Look look;
  for (auto& app : layer.apps)
    if (app) give_back(*app, look);
  layer.flows->give_back();
  trim(layer, look);
  look.has_changed |= reap_pairs(layer);
  double& every = layer.give_back_every;
  if (!look.goes_on)
    every = look.has_changed ? kGiveBackSeconds : std::min(2 * every, kMostGiveBackSeconds);
  look_again_in(layer, look.goes_on ? kGoOnSeconds : every);
}

}  // namespace

void give_back_later(Impl& layer) {
  layer.give_back_every = kGiveBackSeconds;
  look_again_in(layer, kGiveBackSeconds);
}

void list_sessions_of(Impl& l, uint32_t worker, const App& app, std::vector<ListedSession>& out) {
  // Newcomers are put in front, so what follows one that was listed was not. One that has gone has
  // no place in the list: then it goes on behind the last before it that is there still.
  std::size_t last = 0;  // it, if there is one, is below that
  for (bool goes_on = true; goes_on;) {
    if (out.size() == out.capacity()) out.reserve(std::max<std::size_t>(kSlice, 2 * out.size()));
    l.engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      const TimeNs until = l.engine.clock_now() + kSliceTime;
      uint32_t n = 0;
      const auto is_late = [&] { return ++n % kSliceLook == 0 && l.engine.clock_now() >= until; };
      const Session* from = nullptr;
      for (; last != 0 && !(from = out[last - 1].find(sw, app)); --last)
        if (is_late()) return;
      SessionId id = from ? from->app_next : app.sessions[worker].first;
      for (; id != kNoSession; id = sw.pool.at(id).app_next) {
        if (out.size() == out.capacity() || is_late()) return;
        out.push_back({id, sw.pool.at(id).generation});
        last = out.size();
      }
      goes_on = false;
    });
  }
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
