// Draining: the daemon is to be taken out of service without breaking what is open.
//
//   draining   listeners of streams are not found any more, so that a SYN is answered as if nobody
//              listened; a datagram transport's `accepted` is refused; nobody new attaches.
//              Applications inside the process are told, who close what they have for newcomers.
//              What is open goes on, a handshake that was under way ends as it would have, and
//              attached applications may connect: they may need to, to serve whom they have.
//   drained    no session and no handshake is left, or the time-out has reset them. Handshakes
//              that end only now are refused, and so are connects.
//
// Workers see the mode as one atomic byte. The worker whose last session or handshake has gone asks
// the control thread to look; only that decides, having visited all workers. Control thread, but
// for drain_progress().
#include "session/control.h"
#include "session/in_process.h"

namespace loom::session {
namespace {

DrainState state_of(const Impl& l) { return l.drain_state.load(std::memory_order_relaxed); }

void set_state(Impl& l, DrainState state) { l.drain_state.store(state, std::memory_order_relaxed); }

void say(Impl& l, const std::string& text) {
  l.log(LogLevel::kNotice, text);
  if (l.drain.on_change) l.drain.on_change(drain_status(l));
}

// Handshakes first: one that ends between the two looks is a session by the time that its worker is
// visited.
bool is_all_quiet(Impl& l) {
  if (l.flows->half_open() != 0) return false;
  uint64_t left = 0;
  for (uint32_t i = 0; i < l.engine.n_workers(); ++i)
    l.engine.run_on_worker(i, [&](Worker& w) { left += of(w).pool.in_use(); });
  return left == 0;
}

void check(Impl& l) {
  l.drain_check_asked.store(false, std::memory_order_release);
  while (state_of(l) == DrainState::kDraining && is_all_quiet(l)) {
    // Once more behind the state: an application may have connected behind the first look.
    set_state(l, DrainState::kDrained);
    if (is_all_quiet(l)) return say(l, "drained");
    set_state(l, DrainState::kDraining);
  }
}

// First the state, which workers have seen once they are visited: what comes up behind the visit
// would otherwise stay.
void time_out(Impl& l) {
  set_state(l, DrainState::kDrained);
  // From now on no session moves; what is between two workers arrives, or comes back.
  for (int i = 0; i < 3; ++i) pass_over_workers(l);
  l.drain.resets = reset_all_sessions(l, true);
  say(l, "drained, " + std::to_string(l.drain.resets) + " sessions were reset");
}

// One at a time, however often the time-out is changed: it cannot be called back.
void tick(Impl& l) {
  l.drain.ticks = false;
  if (state_of(l) != DrainState::kDraining || l.drain.timeout_s == 0) return;
  const TimeNs left = l.drain.deadline - l.engine.clock_now();
  if (left <= 0) return time_out(l);
  l.drain.ticks = true;
  l.loop.after(to_seconds(std::min(left, kSecond)), [&l] { tick(l); });
}

}  // namespace

void drain_progress(SessionWorker& sw) noexcept {
  Impl& l = *sw.layer;
  if (state_of(l) != DrainState::kDraining) [[likely]]
    return;
  if (sw.pool.in_use() != 0 || l.flows->half_open() != 0) return;
  if (l.drain_check_asked.exchange(true, std::memory_order_acq_rel)) return;
  sw.worker->post_to_control([](void* layer) { check(*static_cast<Impl*>(layer)); }, &l);
}

void set_drain(Impl& l, bool enable, uint32_t timeout_s) {
  if (!enable) {
    if (state_of(l) == DrainState::kOff) return;
    set_state(l, DrainState::kOff);
    say(l, "draining is off");
    return tell_draining(l, false);
  }
  l.drain.timeout_s = timeout_s;
  l.drain.deadline = l.engine.clock_now() + timeout_s * kSecond;
  if (state_of(l) == DrainState::kOff) {
    l.drain.began = l.engine.clock_now();
    l.drain.refused_apps = l.drain.resets = 0;
    for (uint32_t i = 0; i < l.engine.n_workers(); ++i)
      l.engine.run_on_worker(i, [](Worker& w) { of(w).drain_refused = {}; });
    set_state(l, DrainState::kDraining);
    say(l, "draining: no new connections");
    tell_draining(l, true);
  }
  if (!l.drain.ticks && l.loop.after) tick(l);
  check(l);
}

DrainStatus drain_status(const Impl& l) {
  DrainStatus s;
  s.state = state_of(l);
  s.half_open = l.flows->half_open();
  s.sessions = n_sessions(l);
  s.resets = l.drain.resets;
  if (s.state == DrainState::kOff) return s;
  s.timeout_s = l.drain.timeout_s;
  s.elapsed = l.engine.clock_now() - l.drain.began;
  s.refused_apps = l.drain.refused_apps;
  for (const auto& sw : l.workers) s.refused_packets += sw->drain_refused;
  return s;
}

namespace {

Result<void> drain(Host&, void* context, CliArgs& args, CliReply& reply) {
  Impl& l = *static_cast<Impl*>(context);
  bool enable = true;
  uint64_t timeout = 0;
  if (args.accept("off")) {
    enable = false;
  } else {
    (void)args.accept("on");
    if (args.accept("timeout")) {
      const auto n = args.number("timeout in seconds", 1, kMaxDrainTimeout);
      if (!n) return n.error();
      timeout = *n;
    }
  }
  if (!args.done()) return args.unknown();
  set_drain(l, enable, static_cast<uint32_t>(timeout));
  reply.field("sessions left", std::to_string(drain_status(l).sessions));
  return {};
}

Result<void> show_drain(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const DrainStatus s = drain_status(*static_cast<Impl*>(context));
  reply.field("state", s.state == DrainState::kOff        ? "off"
                       : s.state == DrainState::kDraining ? "draining"
                                                          : "drained");
  reply.field("sessions", std::to_string(s.sessions));
  reply.field("handshakes", std::to_string(s.half_open));
  reply.field("timeout", s.timeout_s ? std::to_string(s.timeout_s) + " s" : "none");
  reply.field("elapsed", std::to_string(s.elapsed / kSecond) + " s");
  reply.field("refused packets", std::to_string(s.refused_packets));
  reply.field("refused applications", std::to_string(s.refused_apps));
  reply.field("reset by the timeout", std::to_string(s.resets));
  return {};
}

constexpr CliCommand kCommands[] = {
    {.path = "drain",
     .syntax = "[on] [timeout SECONDS] | off",
     .help = "Takes no new connections and applications; what is open goes on until the timeout.",
     .run = drain},
    {.path = "show drain",
     .syntax = "",
     .help = "Whether the daemon drains, and what is left.",
     .run = show_drain},
};

}  // namespace

std::span<const CliCommand> drain_commands() { return kCommands; }

}  // namespace loom::session
