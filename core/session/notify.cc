// Events to applications. A session is told about once a round, however many packets it got, and
// only if its application asked (svm/fifo_wake.h); a sleeping application is woken when its events
// are in place, but does not wait for what others send.
#include <algorithm>
#include <cstring>

#include "session/impl.h"

namespace loom::session {
namespace {

// A reader that has stopped is looked at less and less often.
constexpr TimeNs kOverflowRetry = kMillisecond, kMaxOverflowRetry = 64 * kMillisecond;
constexpr uint32_t kRetriesPerTick = 1024;  // of one queue: the others have their turn

AppPort& port_of(const SessionWorker& sw, const AppWorker& a) noexcept {
  return *a.ports[sw.worker->index];
}

void retry_later(SessionWorker& sw) noexcept {
  // One that pauses long for a reader that has stopped must not hold up the others.
  if (sw.overflow_timer.is_running() && sw.overflow_pause <= kOverflowRetry) return;
  sw.overflow_pause = kOverflowRetry;
  sw.worker->timer_start_in(sw.overflow_timer, kOverflowRetry);
}

// So many sessions are told, and those of them that have something to send do so, while what
// belongs to them is in the cache: of many it does not stay until all others have been told.
constexpr std::size_t kTellAtOnce = 16;

struct SessionEventKind {
  uint8_t bit;  // in Session::untold
  svm::ToApp type;
};
constexpr SessionEventKind kSessionEvents[] = {{kNotifyRx, svm::ToApp::kRx},
                                               {kNotifyTx, svm::ToApp::kTxSpace}};

// False: there is no room in the queue.
bool push_of_session(SessionWorker& sw, Session& s, AppWorker& a, svm::ToApp type) noexcept {
  const svm::SessionEvent event{handle_of(sw, s), 0};
  uint32_t position;
  switch (a.events.push(static_cast<uint32_t>(type), &event, sizeof event, &position)) {
    case svm::MqProducer::Push::kOk:
      break;
    case svm::MqProducer::Push::kViolation:
      condemn(sw, *a.app);
      return true;
    case svm::MqProducer::Push::kFull:
      return false;
  }
  port_of(sw, a).pushed = sw.any_pushed = true;
  if (s.is_cut_through()) note_told(sw, s, a, position);
  return true;
}

// The event waits in the session; the port knows that.
void tell_when_there_is_room(SessionWorker& sw, Session& s, const AppWorker& a, AppPort& p,
                             uint8_t bit) noexcept {
  if (s.untold == 0 || s.untold_to != a.index) {
    // Each is there once, but for those that have gone or changed their owner meanwhile.
    if (p.waiting.size() >= a.app->sessions[sw.worker->index].size + App::kMaxOverflow)
      return condemn(sw, *a.app);
    p.waiting.push_back(s.id);
    s.untold_to = static_cast<uint8_t>(a.index);
  }
  s.untold |= bit;
  retry_later(sw);
}

// `what`: kNotifyRx, kNotifyTx.
void tell_owner(SessionWorker& sw, Session& s, uint8_t what) noexcept {
  AppWorker* const a = owner_of(s);
  if (!a) return;
  AppPort& p = port_of(sw, *a);
  for (const auto& [bit, type] : kSessionEvents)
    if ((what & bit) && (p.has_backlog() || !push_of_session(sw, s, *a, type)))
      tell_when_there_is_room(sw, s, *a, p, bit);
}

void tell_listener(SessionWorker& sw, Listener& l) noexcept {
  uint32_t fresh = l.fresh.exchange(0, std::memory_order_acq_rel);
  const uint64_t interested = l.accepts.interested();
  const svm::SessionEvent event{l.handle(), 0};
  // One sleeper for each connection, in turn, as the kernel does for exclusive waiters: waking all
  // for one would send all but one back to sleep. One that leaves without the connection passes on.
  // Those that do something else for the moment come last: it may take long.
  for (const bool asleep : {true, false}) {
    const uint32_t first = l.next_woken.load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < svm::kMaxAppWorkers && interested && fresh; ++i) {
      const uint32_t w = (first + i) % svm::kMaxAppWorkers;
      if (!(interested >> w & 1)) continue;
      AppWorker* a = l.app->live[w].load(std::memory_order_acquire);
      if (!a || (asleep && !a->events.consumer_sleeps()) || !l.accepts.take_interest(w)) continue;
      push_event(sw, *a, svm::ToApp::kAcceptReady, event);
      l.next_woken.store((w + 1) % svm::kMaxAppWorkers, std::memory_order_relaxed);
      --fresh;
    }
  }
}

// False: there is no room for all that waits in the session.
bool retry_session(SessionWorker& sw, Session& s, AppWorker& a) noexcept {
  // It has gone, and its place is another's; or it has another owner.
  if (s.untold == 0 || s.untold_to != a.index || s.app != a.app) return true;
  AppWorker* const owner = s.state == State::kClosing ? nullptr : owner_of(s);
  if (owner != &a) {
    const uint8_t what = std::exchange(s.untold, uint8_t{0});
    if (owner) tell_owner(sw, s, what);
    return true;
  }
  for (const auto& [bit, type] : kSessionEvents) {
    if (!(s.untold & bit)) continue;
    if (!push_of_session(sw, s, a, type)) return false;
    s.untold &= static_cast<uint8_t>(~bit);
  }
  return true;
}

// True: something went.
bool retry_backlog(SessionWorker& sw, AppPort& p) noexcept {
  AppWorker& a = *p.app_worker;
  uint32_t n = 0;
  for (; !p.overflow.empty() && n < kRetriesPerTick; ++n) {
    const svm::MqEvent& e = p.overflow.front();
    const auto pushed = a.events.push(e.type, e.payload, sizeof e.payload);
    if (pushed == svm::MqProducer::Push::kViolation) condemn(sw, *a.app);
    if (pushed != svm::MqProducer::Push::kOk) return n != 0;
    p.overflow.pop_front();
    a.app->overflowed.fetch_sub(1, std::memory_order_relaxed);
    p.pushed = sw.any_pushed = true;
  }
  for (; !p.waiting.empty() && !a.events.is_full() && n < kRetriesPerTick; ++n) {
    if (!retry_session(sw, sw.pool.at(p.waiting.front()), a)) break;
    p.waiting.pop_front();
  }
  return n != 0;
}

void wake_sleepers(SessionWorker& sw) noexcept {
  if (!std::exchange(sw.any_pushed, false)) return;
  for (AppPort* p : sw.ports) {
    if (!std::exchange(p->pushed, false)) continue;
    if (p->app_worker->events.needs_wake()) p->app_worker->wake.ring();
  }
}

}  // namespace

AppWorker* owner_of(const Session& s) noexcept {
  const uint32_t index = svm::read_once(reinterpret_cast<const uint32_t&>(s.shared->owner));
  return index < svm::kMaxAppWorkers ? s.app->live[index].load(std::memory_order_acquire) : nullptr;
}

void notify(SessionWorker& sw, Session& s, uint8_t what) noexcept {
  if (!(s.flags & (kNotifyRx | kNotifyTx | kNotifyForce))) sw.notify.push_back(s.id);
  s.flags |= what;
}

void tell_by_event(SessionWorker& sw, Session& s, uint8_t what) noexcept {
  if (!s.shared || s.state == State::kClosing) return;
  if (s.is_cut_through()) {  // only its end, and news of its owner: bytes are not our business
    if (what & kNotifyForce) tell_owner(sw, s, kNotifyRx);
    return;
  }
  // The owner is read behind should_notify's fence: a process that took the session over stored
  // itself as owner before it armed, so whoever is seen armed is also seen as owner.
  if (what & kNotifyRx) {
    if (rx_of(s).should_notify() || (what & kNotifyForce)) tell_owner(sw, s, kNotifyRx);
    if (rx_of(s).violation()) condemn(sw, *s.app);
  }
  if ((what & kNotifyTx) && tx_of(s).should_notify()) tell_owner(sw, s, kNotifyTx);
}

void notify_accept(SessionWorker& sw, Listener& l) noexcept {
  if (l.fresh.fetch_add(1, std::memory_order_acq_rel) == 0) sw.accepting.push_back(l.index);
}

void push_event(SessionWorker& sw, AppWorker& a, svm::ToApp type, const void* payload,
                uint32_t size) noexcept {
  AppPort& p = port_of(sw, a);
  p.pushed = sw.any_pushed = true;
  if (p.overflow.empty()) {
    switch (a.events.push(static_cast<uint32_t>(type), payload, size)) {
      case svm::MqProducer::Push::kOk:
        return;
      case svm::MqProducer::Push::kViolation:
        condemn(sw, *a.app);
        return;
      case svm::MqProducer::Push::kFull:
        break;
    }
  }
  ++sw.counters[kEventOverflow];
  if (a.app->overflowed.fetch_add(1, std::memory_order_relaxed) >= App::kMaxOverflow) {
    a.app->overflowed.fetch_sub(1, std::memory_order_relaxed);
    condemn(sw, *a.app);
    return;
  }
  svm::MqEvent e{};
  e.type = static_cast<uint32_t>(type);
  std::memcpy(e.payload, payload, size);
  p.overflow.push_back(e);
  retry_later(sw);
}

void overflow_tick(Worker& w, Timer& t) noexcept {
  SessionWorker& sw = of(w);
  bool more = false, any = false;
  for (AppPort* p : sw.ports) {
    any |= retry_backlog(sw, *p);
    more |= p->has_backlog();
  }
  flush(sw);
  if (!more) return;
  sw.overflow_pause = any ? kOverflowRetry : std::min(2 * sw.overflow_pause, kMaxOverflowRetry);
  // What was told just now may have started it.
  if (!t.is_running()) w.timer_start_in(t, sw.overflow_pause);
}

void tell_all(SessionWorker& sw, void (*between)(SessionWorker&) noexcept) noexcept {
  // What is told here may free sessions, and have more to tell: that is the next round's.
  std::swap(sw.notify, sw.telling);
  for (std::size_t i = 0; i < sw.telling.size(); ++i) {
    if (i % kTellAtOnce == 0) {
      if (between && sw.ready.size() > sw.waiting) {
        wake_sleepers(sw);
        between(sw);
      }
      const std::size_t n = std::min(sw.telling.size() - i, kTellAtOnce);
      prefetch_sessions(sw, std::span<const SessionId>(sw.telling).subspan(i, n));
    }
    Session& s = sw.pool.at(sw.telling[i]);
    const uint8_t what = s.flags & (kNotifyRx | kNotifyTx | kNotifyForce);
    if (what == 0) continue;  // it has gone
    s.flags &= static_cast<uint8_t>(~(kNotifyRx | kNotifyTx | kNotifyForce));
    s.app->owner->tell(sw, s, what);
  }
  sw.telling.clear();
  for (const uint32_t index : sw.accepting)
    if (Listener* l = sw.layer->listener(index)) tell_listener(sw, *l);
  sw.accepting.clear();
  wake_sleepers(sw);
}

}  // namespace loom::session
