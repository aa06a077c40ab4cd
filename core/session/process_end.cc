// The end of a process: what only it held is closed as the kernel would, and others are told.
// Control thread; the workers are visited, none stops.
#include <bit>

#include "session/attach.h"
#include "session/control.h"
#include "session/listeners.h"

namespace loom::session {
namespace {

// After a process died: how long a claim may still be under way.
constexpr double kSuspectSeconds = 1.0;

// What this process held alone is closed. The worker has heard of its end.
void drop_sessions(Impl& layer, uint32_t worker, App& app, const AppWorker& a, bool abort) {
  const uint64_t bit = 1ull << a.index;
  for_each_session_of(layer, worker, app, [&](SessionWorker& sw, Session& s) {
    if (s.state == State::kConnecting) {
      if (s.creator == a.index) app_close(sw, s, true);
      return;
    }
    if (!s.shared || s.state == State::kClosing || s.state == State::kLingering) return;
    const uint64_t left = s.shared->holders.fetch_and(~bit, std::memory_order_acq_rel) & ~bit;
    // With the last worker goes what nobody took, too.
    if (s.state == State::kAccepted && !abort && app.live_mask() != 0) return;
    const uint64_t others = left & app.live_mask();
    if (abort || others == 0) {
      end_links(sw, s, nullptr, true);
      app_close(sw, s, abort);
    } else if (s.shared->owner.load(std::memory_order_relaxed) == a.index) {
      set_owner(sw, s, static_cast<uint32_t>(std::countr_zero(others)));
      notify(sw, s, kNotifyRx | kNotifyForce);
    }
  });
}

// Connections that a process took from an accept queue just before it died, without claiming them.
void drop_unclaimed(Impl& layer, App* app, uint64_t serial) {
  if (!is_alive(layer, app, serial)) return;
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    for_each_session_of(layer, i, *app, [&](SessionWorker& sw, Session& s) {
      if (s.state != State::kAccepted) return;
      const Listener* l = layer.listener(s.listener);
      if ((!l || l->app != app || l->accepts.is_taken(s.accept_pos)) &&
          (s.shared->holders.load(std::memory_order_acquire) & app->live_mask()) == 0)
        app_close(sw, s, true);
    });
}

}  // namespace

void remove_worker(Impl& layer, App& app, uint32_t index, bool abort, Process process) {
  std::unique_ptr<AppWorker> a = std::move(app.workers[index]);
  layer.loop.unwatch_fd(a->watch);
  if (!abort) {  // its last words: claims and closes, and those that are passed on
    for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
      layer.engine.run_on_worker(i, [](Worker& w) { (void)poll_requests(of(w)); });
    for (int hops = 0; hops < 2 && layer.engine.n_workers() > 1; ++hops) pass_over_workers(layer);
  }
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i) {
    AppPort* p = a->ports[i].get();
    layer.engine.unwatch_fd(i, p->wake_fd.get());
    layer.engine.run_on_worker(i, [&](Worker& w) {
      SessionWorker& sw = of(w);
      std::erase(sw.ports, p);
      std::erase_if(sw.backlogged,
                    [&](const Backlogged& b) { return b.app == &app && b.app_worker == index; });
      app.live[index].store(nullptr, std::memory_order_release);
    });
    app.overflowed.fetch_sub(static_cast<uint32_t>(p->overflow.size()), std::memory_order_relaxed);
    tell_successors(layer, i, *a, p->waiting);
    drop_sessions(layer, i, app, *a, abort);
  }
  const uint64_t bit = 1ull << index;
  std::vector<Listener*> going;
  for (uint32_t i = 0; i < layer.n_listeners; ++i) {
    Listener* l = layer.listener(i);
    if (!l || l->app != &app) continue;
    const uint64_t left = l->shared->holders.fetch_and(~bit, std::memory_order_acq_rel) & ~bit;
    if (abort || (left & app.live_mask()) == 0) {
      going.push_back(l);
      continue;
    }
    // It may have been chosen for a connection that is still in the queue.
    (void)l->accepts.take_interest(index);
    if (l->accepts.count() != 0)
      layer.engine.run_on_worker(0, [&](Worker& w) {
        notify_accept(of(w), *l);
        flush(of(w));
      });
  }
  unlisten(layer, app, going);
  unbind_ends_of(layer, app, index);
  // A process that does not know yet may still write to its queues: that memory is nobody else's as
  // long as there is the application.
  if (process == Process::kGone) {
    app.arena.free_object(a->mq_ref);
    for (auto& p : a->ports) app.arena.free_object(p->mq_ref);
  }
  layer.log(LogLevel::kInfo, "application '" + app.name + "' worker " + std::to_string(index) +
                                 " (pid " + std::to_string(a->pid) + ") has gone");
  note_application(layer, EventKind::kDetach, app, static_cast<uint64_t>(a->pid));
  a.reset();  // before its application, which may go now
  if (app.live_mask() == 0) {
    app.detached = true;
    free_application_if_unused(layer, app);
    return;
  }
  if (layer.loop.after)
    layer.loop.after(kSuspectSeconds,
                     [layer = std::weak_ptr(layer.alive), &app, serial = app.serial] {
                       if (const auto l = layer.lock()) drop_unclaimed(**l, &app, serial);
                     });
}

void end_application(Impl& layer, App& app, const char* why) {
  if (app.detached) return;
  layer.log(LogLevel::kError, "application '" + app.name + "' ended: " + why);
  app.owner->end(layer, app);
}

void end_violator(Impl& layer, const App* app, uint64_t serial) {
  const auto it = std::find_if(layer.apps.begin(), layer.apps.end(), [&](const auto& a) {
    return a && a.get() == app && a->serial == serial;
  });
  if (it == layer.apps.end()) return;
  App& a = **it;
  if (!a.detached)
    return end_application(layer, a,
                           "its shared memory contradicts itself, or it stopped reading events");
  // What they had written and not sent: nothing of it is believed.
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    for_each_session_of(layer, i, a, [](SessionWorker& sw, Session& s) {
      if (s.state == State::kClosing) app_close(sw, s, true);
    });
  free_application_if_unused(layer, a);
}

void end_external(Impl& layer, App& app) {
  // What is between two workers is ended where it arrives.
  app.condemned.store(true, std::memory_order_release);
  for (uint32_t i = 0; i < svm::kMaxAppWorkers; ++i) {
    if (!app.workers[i]) continue;
    const bool last = std::popcount(app.live_mask()) == 1;
    remove_worker(layer, app, i, true);
    if (last) return;  // it may be gone
  }
}

Status end_worker(Impl& layer, App& app, uint32_t worker) {
  if (worker >= svm::kMaxAppWorkers || !app.workers[worker]) return Status::kNotFound;
  remove_worker(layer, app, worker, false, Process::kMayLive);
  return Status::kOk;
}

void close_all_applications(Impl& layer, const char* why) {
  layer.stopped = true;
  close_attach_sockets(layer);
  for (std::size_t i = 0; i < layer.apps.size(); ++i)
    if (layer.apps[i]) end_application(layer, *layer.apps[i], why);
}

void free_application_if_unused(Impl& layer, App& app) {
  // By identity: a posted reminder may come after the application went.
  for (auto& a : layer.apps)
    if (a.get() == &app && app.detached && app.n_sessions.load(std::memory_order_acquire) == 0) {
      // The worker that let the last one go may still look at it.
      pass_over_workers(layer);
      forget_pairs(layer, app);
      layer.settings.remove_all(app);
      a.reset();
    }
}

}  // namespace loom::session
