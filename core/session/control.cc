#include "session/control.h"

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

constexpr double kGiveBackSeconds = 5.0;  // how often free spans go back to the kernel

void give_back(Impl& layer) {
  layer.give_back_waits = false;
  if (layer.stopped) return;
  for (auto& app : layer.apps) {
    if (!app) continue;
    if (app->arena.wants_give_back()) app->arena.give_back();
    if (app->owner->in_this_process) app->app_arena.give_back();
  }
  reap_pairs(layer);
  give_back_later(layer);
}

}  // namespace

void give_back_later(Impl& layer) {
  if (std::exchange(layer.give_back_waits, true)) return;
  layer.loop.after(kGiveBackSeconds, [&layer] { give_back(layer); });
}

Status reset_session(Impl& l, SessionHandle handle) {
  return with_session(l, handle, [](SessionWorker& sw, Session& s) {
    if (!(s.flags & kTransportUp) || s.state == State::kConnecting) return Status::kNotConnected;
    reset(sw, s);
    return Status::kOk;
  });
}

Status migrate_session(Impl& l, SessionHandle handle, uint32_t worker) {
  return with_session(
      l, handle, [worker](SessionWorker& sw, Session& s) { return migrate(sw, s, worker); });
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
