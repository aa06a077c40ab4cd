// Events to applications. A session is told about once a round, however many packets it got, and
// only if its application asked (svm/fifo_wake.h); a sleeping application is woken once a round,
// after all its events are in place.
#include <algorithm>
#include <cstring>

#include "session/impl.h"

namespace loom::session {
namespace {

constexpr TimeNs kOverflowRetry = kMillisecond;

// The worker that the application's processes made owner of the session; nobody while it waits to
// be accepted.
AppWorker* owner_of(const Session& s) noexcept {
  const uint32_t index = svm::read_once(reinterpret_cast<const uint32_t&>(s.shared->owner));
  return index < svm::kMaxAppWorkers ? s.app->live[index].load(std::memory_order_acquire) : nullptr;
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

void retry_overflow(SessionWorker& sw, AppPort& p) noexcept {
  while (!p.overflow.empty()) {
    const svm::MqEvent& e = p.overflow.front();
    if (p.app_worker->events.push(e.type, e.payload, sizeof e.payload) !=
        svm::MqProducer::Push::kOk)
      return;
    p.overflow.pop_front();
    p.pushed = sw.any_pushed = true;
  }
}

}  // namespace

void notify(SessionWorker& sw, Session& s, uint8_t what) noexcept {
  if (!(s.flags & (kNotifyRx | kNotifyTx | kNotifyForce))) sw.notify.push_back(s.id);
  s.flags |= what;
}

void tell_by_event(SessionWorker& sw, Session& s, uint8_t what) noexcept {
  if (!s.shared || s.state == State::kClosing) return;
  const svm::SessionEvent event{handle_of(sw, s), 0};
  if (s.is_cut_through()) {  // only its end, and news of its owner: bytes are not our business
    AppWorker* a = what & kNotifyForce ? owner_of(s) : nullptr;
    if (a) push_event(sw, *a, svm::ToApp::kRx, event);
    return;
  }
  // The owner is read behind should_notify's fence: a process that took the session over stored
  // itself as owner before it armed, so whoever is seen armed is also seen as owner.
  if (what & kNotifyRx) {
    const bool is_due = rx_of(s).should_notify() || (what & kNotifyForce);
    if (AppWorker* a = is_due ? owner_of(s) : nullptr) push_event(sw, *a, svm::ToApp::kRx, event);
    if (rx_of(s).violation()) condemn(sw, *s.app);
  }
  if ((what & kNotifyTx) && tx_of(s).should_notify())
    if (AppWorker* a = owner_of(s)) push_event(sw, *a, svm::ToApp::kTxSpace, event);
}

void notify_accept(SessionWorker& sw, Listener& l) noexcept {
  if (l.fresh.fetch_add(1, std::memory_order_acq_rel) == 0) sw.accepting.push_back(l.index);
}

void push_event(SessionWorker& sw, AppWorker& a, svm::ToApp type, const void* payload,
                uint32_t size) noexcept {
  AppPort& p = *a.ports[sw.worker->index];
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
  if (p.overflow.size() >= AppPort::kMaxOverflow) {
    condemn(sw, *a.app);
    return;
  }
  svm::MqEvent e{};
  e.type = static_cast<uint32_t>(type);
  std::memcpy(e.payload, payload, size);
  p.overflow.push_back(e);
  if (!sw.overflow_timer.is_running()) sw.worker->timer_start_in(sw.overflow_timer, kOverflowRetry);
}

void overflow_tick(Worker& w, Timer& t) noexcept {
  SessionWorker& sw = of(w);
  bool more = false;
  for (AppPort* p : sw.ports) {
    retry_overflow(sw, *p);
    more |= !p->overflow.empty();
  }
  flush(sw);
  if (more) w.timer_start_in(t, kOverflowRetry);
}

void flush(SessionWorker& sw) noexcept {
  // What is told here may free sessions, and have more to tell: that is the next round's.
  std::swap(sw.notify, sw.telling);
  for (std::size_t i = 0; i < sw.telling.size(); ++i) {
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
  if (!sw.any_pushed) return;
  sw.any_pushed = false;
  for (AppPort* p : sw.ports) {
    if (!std::exchange(p->pushed, false)) continue;
    if (p->app_worker->events.needs_wake()) p->app_worker->wake.ring();
  }
}

}  // namespace loom::session
