// A worker's rounds, and how it falls asleep without missing a wake-up.
//
// Round: input nodes, packets from other workers, frames, timers, fds, frames again (what timers
// and fds have sent leaves in this round), posts, packets to other workers. Frames come before
// timers, so that an acknowledgement that has arrived stops the retransmission timer that expires
// in the same round.
//
// A worker that finds nothing for several rounds may look on for a moment (linger.h), and sleeps.
//
// Sleep: announce it, ask the hooks, look at the posts, wait. Whoever has something for the worker
// publishes it first and then looks at the announcement; either the producer sees that the worker
// sleeps and wakes it, or the worker sees the work.
#include <sys/prctl.h>

#include "graph/worker_state.h"

namespace loom {
namespace {

constexpr uint32_t kMaxCallsPerRound =
    1024;  // so that packets that go in circles cannot stop timers
constexpr std::size_t kMaxTimersPerRound = 1024;
constexpr uint32_t kRoundsPerFdLook = 64;
constexpr TimeNs kTimePerFdLook = 100 * kMicrosecond;

}  // namespace

uint32_t WorkerState::round() noexcept {
  w.now = engine.clock_now();
  w.work = 0;
  calls_left = kMaxCallsPerRound;
  for (const NodeId id : inputs) run_node(slots[id], {});
  if (engine.handoff_.has_shown(w.index)) take_handed_over();
  run_frames();
  uint32_t n_come = w.work;
  w.work += static_cast<uint32_t>(wheel.advance(w, w.now, kMaxTimersPerRound));
  if (watches.has_callbacks() &&
      (++rounds_since_fd_look >= kRoundsPerFdLook || w.now - last_fd_look >= kTimePerFdLook)) {
    rounds_since_fd_look = 0;
    last_fd_look = w.now;
    watches.wait(0);
    const uint32_t n_ready = watches.dispatch(w);
    w.work += n_ready;
    n_come += n_ready;
  }
  run_frames();
  const uint32_t n_posts = posts.run(w);
  w.work += n_posts;
  n_come += n_posts;
  run_frames();
  if (engine.handoff_.has_pushed(w.index)) show_handed_off();
  has_come = n_come != 0;
  bump(rounds, 1);
  if (w.work) bump(busy_rounds, 1);
  __atomic_store_n(&cached_buffers, uint64_t{w.cache.n}, __ATOMIC_RELAXED);
  return w.work;
}

void WorkerState::run() noexcept {
  // The default slack of 50 us would be half a timer tick late on every sleep.
  (void)prctl(PR_SET_TIMERSLACK, 1ul);
  const EngineConfig& config = engine.config();
  if (config.follows && !config.poll_mode && config.corelist.empty()) {
    follower.emplace();
    if (follower->is_idle()) follower.reset();
  }
  last_work = engine.clock_now();
  TimeNs began = 0;  // the round before this one; 0 = there is none, the worker slept
  while (!stopping) {
    if (meter.is_on()) [[unlikely]]
      meter.round();
    else
      meter.pause();
    const uint32_t work = round();
    if (began != 0) note_round(w.now - began);
    // One that never sleeps is to leave the core it is on.
    if (follower && follower->is_beside()) follow(w.now);
    began = w.now;
    if (work != 0 || !frames.empty()) {
      linger.found(w.now, has_come);
      empty_rounds = 0;
      last_work = w.now;
    } else if (!config.poll_mode && ++empty_rounds >= config.spin_rounds) {
      if (linger.goes_on(w.now, [this] { return is_alone(); })) {
        look_at_fds_next();
        continue;
      }
      sleep();
      began = 0;
      meter.pause();
    }
  }
  if (!follower) return;
  follower->stop();
  beside.store(Placement::kAnywhere, std::memory_order_relaxed);
}

// The time of day, so a round in which the kernel ran somebody else is long, too.
void WorkerState::note_round(TimeNs took) noexcept {
  if (took >= kLongRound) [[unlikely]]
    bump(long_rounds, 1);
  if (took > __atomic_load_n(&longest_round, __ATOMIC_RELAXED))
    __atomic_store_n(&longest_round, took, __ATOMIC_RELAXED);
}

void WorkerState::follow(TimeNs now) noexcept {
  follower->look(now, linger.spent());
  if (beside.load(std::memory_order_relaxed) != follower->core())
    beside.store(follower->core(), std::memory_order_relaxed);
}

bool WorkerState::is_alone() noexcept {
  for (const SleepHook& hook : engine.sleep_hooks_)
    if (hook.is_alone && !hook.is_alone(w, hook.context)) return false;
  return true;
}

void WorkerState::sleep() noexcept {
  if (follower) follow(w.now);
  sleep_state.store(SleepState::kFallingAsleep);
  std::size_t asked = 0;
  bool veto = false;
  const auto& hooks = engine.sleep_hooks_;
  for (; asked < hooks.size() && !veto; ++asked)
    veto = hooks[asked].before && !hooks[asked].before(w, hooks[asked].context);
  if (veto) --asked;  // who refuses is not told afterwards
  if (!veto && posts.empty() && !engine.handoff_.has_packets(w.index)) {
    const auto deadline = wheel.next_deadline();
    const TimeNs before = engine.clock_now();
    if (!deadline || *deadline > before) {
      EventLog& events = engine.events();
      const uint32_t thread = EventLog::worker_thread(w.index);
      events.write(thread, before, EventKind::kSleep, 0,
                   deadline ? static_cast<uint64_t>(*deadline - before) : 0);
      asleep.begin(before);
      sleep_state.store(SleepState::kAsleep);
      watches.wait(deadline ? *deadline - before : -1);
      sleep_state.exchange(SleepState::kAwake);  // reads what is_asleep() has written
      w.now = engine.clock_now();
      bump(sleeps, 1);
      asleep.end(w.now);
      linger.slept(w.now - last_work);
      events.write(thread, w.now, EventKind::kWake, 0, static_cast<uint64_t>(w.now - before));
    }
  }
  sleep_state.store(SleepState::kAwake);
  for (std::size_t i = 0; i < asked; ++i)
    if (hooks[i].after) hooks[i].after(w, hooks[i].context);
  watches.dispatch(w);
  empty_rounds = 0;
  last_work = w.now;
}

// A read-modify-write that changes nothing: it orders the caller's earlier writes before the
// worker's waking up, which a load would not.
bool WorkerState::is_asleep() noexcept {
  SleepState expected = SleepState::kAsleep;
  return sleep_state.compare_exchange_strong(expected, SleepState::kAsleep);
}

void WorkerState::look_at_fds_next() noexcept { rounds_since_fd_look = kRoundsPerFdLook; }

void WorkerState::post(PostQueue::Fn fn) {
  posts.push(std::move(fn));
  if (sleep_state.load() != SleepState::kAwake) watches.wake();
}

void WorkerState::post(WorkerPost& post) noexcept {
  posts.push(post);
  if (sleep_state.load() != SleepState::kAwake) watches.wake();
}

}  // namespace loom
