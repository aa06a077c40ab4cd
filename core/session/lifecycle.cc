// Sessions open and end here. A session has two ends, application and transport; it goes when both
// have let go, and the last buffer segment that points into its tx fifo has been freed.
#include <algorithm>

#include "session/session_events.h"

namespace loom::session {
namespace {

// The last segment of an epoch was freed: what waited for it can go.
void release_segment(Worker& w, ExternalOwner& owner, uint32_t epoch) noexcept {
  Session& s = session_of(owner);
  // Where the session is, which stays while it is held.
  LOOM_DCHECK(of(w).pool.contains(s.id) && &of(w).pool.at(s.id) == &s);
  TxHold& hold = s.hold;
  if (--hold.refs[epoch] != 0) return;
  SessionWorker& sw = of(w);
  if (s.state == State::kLingering) {
    if (!hold.any()) free_session(sw, s);
    return;
  }
  // An epoch's bytes may go only with all older segments gone; the older epoch is the one not
  // written to now.
  if (epoch == hold.epoch && hold.refs[epoch ^ 1] != 0) return;
  if (const uint32_t n = std::exchange(hold.deferred[epoch], 0)) drop_tx(sw, s, n);
  if (epoch != hold.epoch && hold.refs[hold.epoch] == 0)
    if (const uint32_t n = std::exchange(hold.deferred[hold.epoch], 0)) drop_tx(sw, s, n);
}

// Asks for a segment before the last one is full, so that no connection is refused while it is
// made: once for each, and not when segments are so small that there is no telling.
void grow_ahead(SessionWorker& sw, App& app) noexcept {
  constexpr uint64_t kMostSpans = 4, kSpanBytes = 4u << 20;
  const uint64_t wanted = std::min(kMostSpans, app.add_segment_size / kSpanBytes / 4);
  if (app.arena.free_spans() >= wanted) [[likely]]
    return;
  const uint32_t n = app.arena.n_segments();
  if (app.ahead_of.exchange(n, std::memory_order_relaxed) != n) ask_growth(sw, app);
}

}  // namespace

const char* state_name(State s) noexcept {
  constexpr const char* kNames[] = {"free",    "connecting", "accepted",  "open",
                                    "closing", "detached",   "lingering", "migrated"};
  return kNames[static_cast<std::size_t>(s)];
}

void link_to_app(SessionWorker& sw, Session& s) noexcept {
  SessionList& list = s.app->sessions[sw.worker->index];
  s.app_next = list.first;
  s.app_prev = kNoSession;
  if (list.first != kNoSession) sw.pool.at(list.first).app_prev = s.id;
  list.first = s.id;
  ++list.size;
}

void unlink_from_app(SessionWorker& sw, Session& s) noexcept {
  SessionList& list = s.app->sessions[sw.worker->index];
  if (s.app_prev != kNoSession)
    sw.pool.at(s.app_prev).app_next = s.app_next;
  else
    list.first = s.app_next;
  if (s.app_next != kNoSession) sw.pool.at(s.app_next).app_prev = s.app_prev;
  --list.size;
}

SessionHandle handle_of(const SessionWorker& sw, const Session& s) noexcept {
  if (s.home != 0) return s.home;
  return make_handle(s.generation, static_cast<uint8_t>(sw.worker->index), s.id);
}

Session* find_session(SessionWorker& sw, const App& app, SessionHandle h) noexcept {
  const SessionId id = local_id(sw, h);
  if (sw.pool.contains(id)) {
    Session& s = sw.pool.at(id);
    if (s.state != State::kFree && s.state != State::kLingering && s.state != State::kMigrated &&
        handle_of(sw, s) == h && s.app == &app)
      return &s;
  }
  ++sw.counters[kStaleHandle];
  return nullptr;
}

Session* new_session(SessionWorker& sw, App& app, TransportId transport) noexcept {
  if (!take_session(app)) {
    ++sw.counters[kNamespaceFull];
    return nullptr;
  }
  Session* s = sw.pool.alloc();
  if (!s) {
    release_session(app);
    return nullptr;
  }
  s->app = &app;
  s->transport = transport;
  s->rx.size = app.rx_fifo_size;
  s->tx.size = app.tx_fifo_size;
  s->hold.owner.release = release_segment;
  link_to_app(sw, *s);
  app.n_sessions.fetch_add(1, std::memory_order_relaxed);
  return s;
}

bool open_fifos(SessionWorker& sw, Session& s) noexcept {
  const auto object = s.app->arena.alloc_object(sizeof(svm::SessionShared));
  if (!object.ptr) {
    ++sw.counters[kNoSegmentMemory];
    ask_growth(sw, *s.app);
    return false;
  }
  grow_ahead(sw, *s.app);
  auto* shared = reinterpret_cast<svm::SessionShared*>(object.ptr);
  s.shared = shared;
  s.shared_ref = object.ref;
  s.shared->owner.store(~0u, std::memory_order_relaxed);
  s.shared->handle = handle_of(sw, s);
  s.shared->worker.store(sw.worker->index, std::memory_order_relaxed);
  s.shared->rx_size = s.rx.size;
  s.shared->tx_size = s.tx.size;
  svm::init_fifos(*shared);
  (void)tx_of(s).arm();  // the first byte written is announced
  return true;
}

void app_close(SessionWorker& sw, Session& s, bool abort) noexcept {
  note_session(sw, EventKind::kSessionClose, s, abort);
  end_links(sw, s);
  const TransportOps* ops = ops_of(sw, s);
  if (!(s.flags & kTransportUp)) {
    free_session(sw, s);
    return;
  }
  // Received bytes that nobody will read must not look delivered to the peer.
  bool unread = false;
  if (s.is_cut_through()) {
    unread = unread_bytes(sw, s) != 0;
  } else if (s.shared) {
    (void)rx_of(s).refresh();
    unread = rx_of(s).used() != 0;
    rx_of(s).release();
  }
  if (abort) {
    s.flags &= static_cast<uint8_t>(~kTransportUp);
    ops->abort(*sw.worker, s.conn);
    free_session(sw, s);
    return;
  }
  s.state = State::kClosing;
  // What was written goes first; send_datagrams then closes.
  if (ops->tx_kind == TxKind::kDatagram && s.shared) return schedule(sw, s);
  ops->close(*sw.worker, s.conn, unread);
}

void transport_done(SessionWorker& sw, Session& s) noexcept {
  s.flags &= static_cast<uint8_t>(~kTransportUp);
  s.conn = kNoConn;
  if (s.state == State::kClosing)
    free_session(sw, s);
  else
    s.state = State::kDetached;
}

void session_reset(Worker& w, SessionId id, ResetReason reason) noexcept {
  SessionWorker& sw = of(w);
  Session& s = sw.pool.at(id);
  note_session(sw, EventKind::kSessionReset, s, static_cast<uint32_t>(reason));
  end_links(sw, s);
  s.app->owner->lost(sw, s, reason);
  transport_done(sw, s);
}

void free_session(SessionWorker& sw, Session& s) noexcept {
  if (!s.app->owner->let_go(sw, s)) return;
  if (s.hold.any()) {  // the driver still has segments of it; release_segment comes back here
    s.state = State::kLingering;
    return;
  }
  note_session(sw, EventKind::kSessionFree, s);
  App& app = *s.app;
  if (s.is_cut_through()) {
    release_cut_through(sw, s);
  } else if (s.shared) {
    release_links(sw, s);
    rx_of(s).release();
    // The application closed it, so its half of the tx fifo is ours to free too (protocol.h,
    // kClose).
    svm::AppFifoProducer tx(s.fifos().tx(), app.app_arena, s.tx.size);
    tx.release();
    app.arena.free_object(s.shared_ref);
  }
  unlink_from_app(sw, s);
  if (ops_of(sw, s)->tx_kind == TxKind::kInternal && s.settings != 0)
    let_settings_go(sw, s.settings);
  if (s.home != 0) guest_ended(sw, s);
  release_session(app);
  sw.pool.free(s);
  drain_progress(sw);
  // The last one of an application that has gone: nothing on this worker refers to it after this.
  if (app.n_sessions.fetch_sub(1, std::memory_order_acq_rel) == 1 && app.live_mask() == 0) {
    struct Gone {
      Impl* layer;
      App* app;
    };
    sw.worker->post_to_control(
        [](void* arg) {
          std::unique_ptr<Gone> gone(static_cast<Gone*>(arg));
          free_application_if_unused(*gone->layer, *gone->app);
        },
        new Gone{sw.layer, &app});
  }
}

void drop_tx(SessionWorker& sw, Session& s, uint32_t n) noexcept {
  tx_of(s).drop(n);
  if (s.state == State::kOpen || s.state == State::kAccepted) notify(sw, s, kNotifyTx);
}

namespace {
struct AppTask {
  Impl* layer;
  App* app;
  uint64_t app_serial;
  svm::SegmentKind kind = {};
};
}  // namespace

void condemn(SessionWorker& sw, App& app) noexcept {
  ++sw.counters[kAppViolation];
  if (app.condemned.exchange(true, std::memory_order_acq_rel)) return;
  sw.worker->post_to_control(
      [](void* arg) {
        std::unique_ptr<AppTask> task(static_cast<AppTask*>(arg));
        end_violator(*task->layer, task->app, task->app_serial);
      },
      new AppTask{sw.layer, &app, app.serial});
}

void ask_growth(SessionWorker& sw, App& app, svm::SegmentKind kind) noexcept {
  const uint32_t bit = 1u << static_cast<uint32_t>(kind);
  if (app.growth_asked.fetch_or(bit, std::memory_order_acq_rel) & bit) return;
  sw.worker->post_to_control(
      [](void* arg) {
        std::unique_ptr<AppTask> task(static_cast<AppTask*>(arg));
        if (is_alive(*task->layer, task->app, task->app_serial))
          grow(*task->layer, *task->app, task->kind);
      },
      new AppTask{sw.layer, &app, app.serial, kind});
}

void watch_chunks(SessionWorker& sw, Session& s) noexcept {
  if (s.flags & kHoldsChunks) return;
  if (sw.holding.push_back(handle_of(sw, s))) s.flags |= kHoldsChunks;
  if (!sw.holding_timer.is_running()) sw.worker->timer_start_in(sw.holding_timer, kHoldingInterval);
}

namespace {

// False: it holds nothing any more, or has gone.
bool look_at_chunks(SessionWorker& sw, SessionHandle handle) noexcept {
  const SessionId id = local_id(sw, handle);
  if (!sw.pool.contains(id)) return false;
  Session& s = sw.pool.at(id);
  if (handle_of(sw, s) != handle || !(s.flags & kHoldsChunks)) return false;
  auto rx = rx_of(s);
  if (rx.holds_chunks()) {
    (void)rx.refresh();
    if (rx.used() == 0 && rx.ooo_bytes() == 0) (void)rx.reclaim();
  }
  const bool holds_tx = s.app->owner->reclaim_tx(sw, s);
  if (holds_tx || rx.holds_chunks()) return true;
  s.flags &= static_cast<uint8_t>(~kHoldsChunks);
  return false;
}

}  // namespace

// A part of them a tick, so that a million that have gone idle at once stop nobody else.
void holding_tick(Worker& w, Timer& t) noexcept {
  SessionWorker& sw = of(w);
  for (uint32_t i = 0; i < kHoldingPerTick && sw.holding_next < sw.holding.size(); ++i) {
    if (look_at_chunks(sw, sw.holding[sw.holding_next])) {
      ++sw.holding_next;
    } else {
      sw.holding[sw.holding_next] = sw.holding.back();
      sw.holding.pop_back();
    }
  }
  if (sw.holding_next < sw.holding.size()) return w.timer_start_in(t, kMillisecond);
  sw.holding_next = 0;
  if (!sw.holding.empty()) w.timer_start_in(t, kHoldingInterval);
}

}  // namespace loom::session
