// See migrate.h.
#include "session/migrate.h"

#include <bit>

#include "session/in_process.h"
#include "session/session_events.h"

namespace loom::session {
namespace {

constexpr uint32_t kMaxHops = 8;  // of a request; longer, and its session is gone

// Never 0. Differences are good for 49 days.
uint32_t milliseconds(const Worker& w) noexcept {
  return static_cast<uint32_t>(w.now / kMillisecond) | 1;
}

// Runs fn(SessionWorker&) there, behind everything that this worker has sent it before. Allocates:
// for rare events.
template <class Fn>
void send_to(const SessionWorker& from, uint32_t worker, Fn&& fn) {
  from.layer->engine.post(worker,
                          [f = std::forward<Fn>(fn)](Worker& w) mutable { f(session::of(w)); });
}

// The session of a connection of this worker; nullptr: it has none.
Session* session_of(SessionWorker& sw, uint8_t protocol, ConnId conn) noexcept {
  const TransportRegistry& transports = sw.layer->transports;
  for (TransportId id = 0; id < transports.end_id(); ++id) {
    const TransportOps* ops = transports.get(id);
    if (!ops || ops->ip_protocol != protocol || !ops->session_of) continue;
    const SessionId session = ops->session_of(*sw.worker, conn);
    return sw.pool.contains(session) ? &sw.pool.at(session) : nullptr;
  }
  return nullptr;
}

// Whether connections of that protocol can move at all.
bool moves(const SessionWorker& sw, uint8_t protocol) noexcept {
  const TransportRegistry& transports = sw.layer->transports;
  for (TransportId id = 0; id < transports.end_id(); ++id)
    if (const TransportOps* ops = transports.get(id); ops && ops->ip_protocol == protocol)
      return ops->session_of && ops->freeze;
  return false;
}

constexpr uint8_t kListFlags = kInReady | kNotifyRx | kNotifyTx | kNotifyForce | kHoldsChunks;

// What the lists knew of the session, on the worker that has it now.
void join_lists(SessionWorker& sw, Session& s, uint8_t flags) noexcept {
  if (flags & kHoldsChunks) watch_chunks(sw, s);
  const uint8_t what = flags & (kNotifyRx | kNotifyTx | kNotifyForce);
  if (what != 0) notify(sw, s, what);
  // Looked at once in any case: what was written meanwhile has been announced to somebody else.
  schedule(sw, s);
}

// Its processes may have come to an end while it was in nobody's list.
void look_after_holders(SessionWorker& sw, Session& s) noexcept {
  // In this order: who is a holder has been alive before, so who is not now is dead. A process that
  // comes to be meanwhile is left alone.
  const uint64_t held = s.shared->holders.load(std::memory_order_acquire);
  const uint64_t dead = held & ~s.app->live_mask();
  const uint64_t left = s.shared->holders.fetch_and(~dead, std::memory_order_acq_rel) & ~dead;
  if (left == 0) return app_close(sw, s, s.app->condemned.load(std::memory_order_acquire));
  const uint32_t owner = s.shared->owner.load(std::memory_order_relaxed);
  if (owner < svm::kMaxAppWorkers && (left >> owner & 1)) return;
  set_owner(sw, s, static_cast<uint32_t>(std::countr_zero(left)));
  notify(sw, s, kNotifyRx | kNotifyForce);
}

// The session is this worker's.
void take_in(SessionWorker& sw, Session& s, uint8_t listed) noexcept {
  link_to_app(sw, s);
  s.app->n_moving.fetch_sub(1, std::memory_order_release);
  join_lists(sw, s, listed);
  if (!s.app->owner->in_this_process) look_after_holders(sw, s);
}

// --- On the old worker again.

void departed(SessionWorker& sw, Session& s) noexcept {
  ops_of(sw, s)->thaw(*sw.worker, s.conn, true);
  s.conn = kNoConn;
  if (s.home == 0) return;  // its home: the slot stays, and knows where it went
  sw.guests.erase(s.home);
  --sw.migrated;
  sw.pool.free(s);
}

void refused(SessionWorker& sw, Session& s, uint8_t listed) noexcept {
  ops_of(sw, s)->thaw(*sw.worker, s.conn, false);
  s.state = State::kOpen;
  s.listener = kNoIndex;  // it may have ended meanwhile
  --sw.migrated;
  take_in(sw, s, listed);
}

// --- On the new worker.

void arrive(SessionWorker& sw, uint32_t from, Session& old, const void* frozen, SessionHandle home,
            uint8_t listed) noexcept {
  const uint32_t here = sw.worker->index;
  const bool is_home = handle_worker(home) == here;
  Session* s = is_home ? &sw.pool.at(handle_index(home)) : sw.pool.alloc();
  const ConnId conn = s ? ops_of(sw, old)->adopt(*sw.worker, frozen, s->id) : kNoConn;
  if (conn == kNoConn) {
    if (s && !is_home) sw.pool.free(*s);
    return send_to(sw, from, [&old, listed](SessionWorker& back) { refused(back, old, listed); });
  }
  const SessionId id = s->id;
  const uint32_t generation = s->generation;
  *s = old;
  old.rx = svm::PrivateProducer{};  // there is one owner of what it holds
  s->id = id;
  s->generation = generation;
  s->conn = conn;
  s->state = State::kOpen;
  s->home = is_home ? 0 : home;
  s->listener = kNoIndex;  // it may have ended meanwhile
  s->moved_at = milliseconds(*sw.worker);
  if (is_home)
    --sw.migrated;
  else
    sw.guests[home] = id;
  if (s->app->owner->in_this_process) {
    s->app_end.due |= AppEnd::kMoved;
    s->app_end.due &= static_cast<uint8_t>(~AppEnd::kNoMemory);  // its retry was the old worker's
    listed |= kNotifyRx | kNotifyTx;
  }
  s->shared->worker.store(here, std::memory_order_release);
  // Its home hears of it first: once the old worker knows nothing any more, requests go by there.
  if (const uint32_t at = handle_worker(home); at != here && at != from)
    send_to(sw, at, [home, here](SessionWorker& there) {
      there.pool.at(handle_index(home)).lives_on = static_cast<uint8_t>(here);
    });
  send_to(sw, from, [&old](SessionWorker& back) { departed(back, old); });
  ++sw.counters[kMigratedHere];
  note_session(sw, EventKind::kSessionMove, *s, from);
  take_in(sw, *s, listed);
}

}  // namespace

Status migrate(SessionWorker& sw, Session& s, uint32_t to) noexcept {
  if (to >= sw.layer->workers.size()) return Status::kInvalid;
  if (to == sw.worker->index) return Status::kOk;
  const TransportOps* ops = ops_of(sw, s);
  const bool app_stays = s.app->owner->in_this_process && !app_of(s).calls.moved;
  if (s.is_cut_through() || app_stays || ops->tx_kind == TxKind::kInternal || !ops->freeze)
    return Status::kUnsupported;
  constexpr uint8_t kBusy = AppEnd::kOpened | AppEnd::kReset | AppEnd::kClosed;
  if (s.state != State::kOpen || !(s.flags & kTransportUp) || s.hold.any() ||
      (s.app_end.due & kBusy) || s.app->condemned.load(std::memory_order_acquire) ||
      sw.layer->drain_state.load(std::memory_order_acquire) == DrainState::kDrained)
    return Status::kAgain;
  const void* const frozen = ops->freeze(*sw.worker, s.conn, to);
  if (!frozen) return Status::kAgain;
  const SessionHandle home = handle_of(sw, s);
  s.app->n_moving.fetch_add(1, std::memory_order_relaxed);
  // What it is listed for goes with it; without the flags its entries here mean nothing.
  uint8_t listed = s.flags & kListFlags;
  if (std::exchange(s.untold, uint8_t{0}) != 0) listed |= kNotifyRx | kNotifyForce;
  s.flags &= static_cast<uint8_t>(~kListFlags);
  unlink_from_app(sw, s);
  s.state = State::kMigrated;
  s.lives_on = static_cast<uint8_t>(to);
  ++sw.migrated;
  // The slot does not move, and nobody changes it until the new worker has answered.
  send_to(sw, to, [from = sw.worker->index, &s, frozen, home, listed](SessionWorker& there) {
    arrive(there, from, s, frozen, home, listed);
  });
  return Status::kOk;
}

SessionId local_id(const SessionWorker& sw, SessionHandle h) noexcept {
  if (handle_worker(h) == sw.worker->index) return handle_index(h);
  const auto found = sw.guests.find(h);
  return found == sw.guests.end() ? kNoSession : found->second;
}

void pass_to(SessionWorker& sw, AppWorker& a, const svm::MqEvent& e, uint32_t to,
             uint32_t hops) noexcept {
  ++sw.counters[kPassedOn];
  a.passed_on.fetch_add(1, std::memory_order_relaxed);
  // By name: the process may be gone when the request arrives.
  send_to(sw, to, [app = a.app, worker = a.index, e, hops](SessionWorker& there) {
    for (AppPort* p : there.ports)
      if (p->app_worker->app == app && p->app_worker->index == worker) {
        p->app_worker->passed_on.fetch_sub(1, std::memory_order_relaxed);
        return handle_request(there, *p->app_worker, e, hops + 1);
      }
  });
}

bool pass_on(SessionWorker& sw, AppWorker& a, const svm::MqEvent& e, SessionHandle h,
             uint32_t hops) noexcept {
  const SessionId id = local_id(sw, h);
  uint32_t to = handle_worker(h);
  if (sw.pool.contains(id)) {
    const Session& s = sw.pool.at(id);
    if (s.state != State::kMigrated || handle_of(sw, s) != h || s.app != a.app) return false;
    to = s.lives_on;
  } else if (to == sw.worker->index || to >= sw.layer->workers.size()) {
    return false;
  }
  if (hops == kMaxHops) return false;
  pass_to(sw, a, e, to, hops);
  return true;
}

void guest_ended(SessionWorker& sw, const Session& s) noexcept {
  sw.guests.erase(s.home);
  send_to(sw, handle_worker(s.home), [home = s.home](SessionWorker& there) {
    Session& slot = there.pool.at(handle_index(home));
    if (slot.state != State::kMigrated || handle_of(there, slot) != home) return;
    --there.migrated;
    there.pool.free(slot);
    drain_progress(there);
  });
}

void note_stray(SessionWorker& sw, uint8_t protocol, const FlowMatch& m) noexcept {
  if (++sw.strays % kStraysPerRequest != 0 || !moves(sw, protocol)) return;
  send_to(sw, m.worker, [conn = m.conn, protocol, to = sw.worker->index](SessionWorker& there) {
    if (Session* s = session_of(there, protocol, conn)) {
      const uint32_t stayed = milliseconds(*there.worker) - s->moved_at;
      if (s->moved_at == 0 || stayed >= kLeastStay / kMillisecond) (void)migrate(there, *s, to);
    }
  });
}

}  // namespace loom::session
