#include "net/ping/ping_run.h"

#include <algorithm>

#include "net/state.h"

namespace loom {

struct PingRuns::Run : std::enable_shared_from_this<Run> {
  Run(PingRuns& o) : owner(o) {
    clock.run = this;
    clock.timer.fired = [](Worker& w, Timer& t) noexcept {
      LOOM_TIMER_OWNER(Clock, timer, t).run->go_on(w);
    };
  }

  // Worker 0: sends the next request, or ends the wait for the last one's answer.
  void go_on(Worker& w) {
    if (next == count) return end(w);
    const Status sent = send_echo(w, board, address, fib_index, id, static_cast<uint16_t>(next));
    const bool is_first = next == 0, is_last = ++next == count;
    if (sent == Status::kOk)
      ++n_sent;
    else
      failure = sent;
    const bool has_no_way = is_first && sent != Status::kOk && sent != Status::kNoMemory;
    if (has_no_way || (is_last && n_sent == 0)) return end(w);
    w.timer_start_in(clock.timer, is_last ? std::max(interval, kSecond) : interval);
  }
  void end(Worker& w) {
    if (is_over) return;
    is_over = true;
    w.timer_stop(clock.timer);
    board.end();
    owner.engine_.post_to_control([self = shared_from_this()] {
      if (self->done) self->owner.finished(*self);  // else cancelled, and the owner may be gone
    });
  }

  PingRuns& owner;
  uint64_t number = 0;
  PingBoard board;
  IpAddress address;
  uint32_t count = 0, fib_index = 0;
  TimeNs interval = 0;
  uint16_t id = 0;
  Net::PingDone done;  // control's; empty once it was called, or never is to be
  // Worker 0's; control reads n_sent and failure when it is over.
  struct Clock {
    Timer timer;
    Run* run;
  } clock{};
  uint32_t next = 0, n_sent = 0;
  Status failure = Status::kOk;
  bool is_over = false;
};

Result<uint64_t> PingRuns::start(const IpAddress& address, uint32_t count, TimeNs interval,
                                 uint32_t fib_index, Net::PingDone done) {
  const auto slot = std::find(owned_.begin(), owned_.end(), nullptr);
  if (slot == owned_.end())
    return error(Status::kInUse, std::to_string(owned_.size()) + " pings are under way");
  auto run = std::make_shared<Run>(*this);
  run->number = ++n_started_;
  run->address = address;
  run->count = count;
  run->interval = interval;
  run->fib_index = fib_index;
  run->done = done ? std::move(done) : [](const PingOutcome&) {};
  *slot = run;
  engine_.run_on_worker(0, [&](Worker& w) {
    run->id = static_cast<uint16_t>(w.random());
    run->board.begin(address, run->id, count);
    runs_[static_cast<std::size_t>(slot - owned_.begin())].store(run.get(),
                                                                 std::memory_order_release);
    run->go_on(w);
  });
  return run->number;
}

// A worker may be looking at the run.
void PingRuns::free_place(std::size_t i) {
  runs_[i].store(nullptr, std::memory_order_release);
  engine_.after_grace([kept = std::move(owned_[i])] {});
  owned_[i] = nullptr;
}

void PingRuns::finished(Run& run) {
  for (std::size_t i = 0; i < owned_.size(); ++i)
    if (owned_[i].get() == &run) free_place(i);
  std::exchange(run.done, {})({run.n_sent, run.failure, run.board.replies()});
}

void PingRuns::cancel_at(std::size_t i) {
  if (!owned_[i]) return;
  Run& run = *owned_[i];
  run.done = {};
  engine_.run_on_worker(0, [&](Worker& w) {
    run.is_over = true;
    w.timer_stop(run.clock.timer);
  });
  free_place(i);
}

void PingRuns::cancel(uint64_t number) {
  for (std::size_t i = 0; i < owned_.size(); ++i)
    if (owned_[i] && owned_[i]->number == number) cancel_at(i);
}

void PingRuns::cancel() {
  for (std::size_t i = 0; i < owned_.size(); ++i) cancel_at(i);
}

bool PingRuns::answered(const EchoReply& reply) {
  for (auto& slot : runs_) {
    Run* run = slot.load(std::memory_order_acquire);
    if (!run || !run->board.answered(reply)) continue;
    if (run->board.n_answered() == run->count)  // once a ping
      engine_.post(0, [self = run->shared_from_this()](Worker& w) { self->end(w); });
    return true;
  }
  return false;
}

}  // namespace loom
