#include "graph/placement.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

#include "graph/worker_state.h"

namespace loom {

void Placement::heard(int core) noexcept {
  ++n_heard_;
  n_own_ += core == core_;
  if (votes_ == 0) candidate_ = core;
  votes_ += core == candidate_ ? 1 : -1;
}

int Placement::wanted(TimeNs now) const noexcept {
  const TimeNs counted = now - counting_since_;
  // Beside it, an application mostly finds it awake: few wakes stand for many.
  if (n_own_ * 4 >= n_heard_ && n_own_ >= std::max<int64_t>(1, counted / kPatience)) return core_;
  if (n_heard_ >= kLeastWakes * (counted / kMillisecond) / 1000)
    return votes_ * 2 > n_heard_ ? candidate_ : kAnywhere;
  // Not worth it to go to a core.
  return is_beside() && counted < kPatience ? kUnsaid : kAnywhere;
}

// Longer and longer, so that who needs the core for long has it; who wanted it long ago does not
// count.
void Placement::bar(TimeNs now) noexcept {
  if (now - barred_until_ >= back_off_) back_off_ = kBackOff;
  barred_until_ = now + back_off_;
  back_off_ = std::min(2 * back_off_, kMostBackOff);
}

int Placement::decide(TimeNs now, TimeNs ran, TimeNs waited) noexcept {
  const TimeNs took = now - std::exchange(began_, now);
  const TimeNs own = ran - std::exchange(ran_, ran);
  const TimeNs without = waited - std::exchange(waited_, waited);
  // Nobody's single turn is as long as a window. A wait stretches the window that it falls in.
  late_ = is_beside() ? std::max<TimeNs>(0, late_ - took / 4) + without : 0;
  const bool is_crowded = late_ > kWindow, is_busy = own * 2 > took;
  if (is_crowded) bar(now);
  const bool listens = !is_crowded && !is_busy;
  const int chosen = listens ? wanted(now) : kAnywhere;
  if (chosen == kUnsaid) return core_;
  if (listens && is_beside() && chosen != core_ && n_own_ < n_heard_) {
    left_ = core_;
    left_at_ = now;
  }
  // To a core only after two windows; away from it at once.
  const bool was_chosen = chosen == std::exchange(last_choice_, chosen);
  const bool may_go = chosen != kAnywhere && was_chosen && now >= barred_until_;
  const bool is_back = chosen == left_ && now - left_at_ < kPatience;
  if (may_go && is_back) bar(now);  // it would be led away again
  core_ = may_go && !is_back ? chosen : kAnywhere;
  counting_since_ = now;
  n_heard_ = n_own_ = votes_ = 0;
  return core_;
}

bool parse_schedstat(std::string_view text, TimeNs& ran, TimeNs& waited) noexcept {
  const char* at = text.data();
  const char* const end = at + text.size();
  // A thread that has just begun has run for 0 ns: the kernel adds up when it leaves the core, and
  // at ticks. How often it came to a core is at least 1 while it reads this.
  TimeNs n_runs = 0;
  for (TimeNs* const figure : {&ran, &waited, &n_runs}) {
    const auto read = std::from_chars(at, end, *figure);
    if (read.ec != std::errc()) return false;
    at = read.ptr == end ? end : read.ptr + 1;
  }
  return n_runs > 0;
}

Follower::Follower() noexcept {
  CPU_ZERO(&home_);
  if (::sched_getaffinity(0, sizeof home_, &home_) != 0 || CPU_COUNT(&home_) < 2) return;
  set_ = home_;
  stat_ = UniqueFd(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  TimeNs ran = 0, waited = 0;
  if (!read(ran, waited)) stat_ = UniqueFd();
}

void Follower::heard(int core) noexcept {
  if (core >= 0 && core < CPU_SETSIZE && CPU_ISSET(static_cast<std::size_t>(core), &home_))
    placement_.heard(core);
}

bool Follower::read(TimeNs& ran, TimeNs& waited) noexcept {
  char text[64];
  const ssize_t n = stat_ ? ::pread(stat_.get(), text, sizeof text, 0) : -1;
  return n > 0 && parse_schedstat({text, static_cast<std::size_t>(n)}, ran, waited);
}

void Follower::decide(TimeNs now, TimeNs idle) noexcept {
  TimeNs ran = 0, waited = 0;
  if (!read(ran, waited)) return stop();
  const int before = placement_.core(), core = placement_.decide(now, ran - idle, waited);
  if (core != before) go(core);
}

void Follower::stop() noexcept {
  if (is_beside()) go(Placement::kAnywhere);
  placement_ = Placement();
  stat_ = UniqueFd();
}

// Whoever has chosen cores for the thread since is right: those are its home then.
void Follower::go(int core) noexcept {
  cpu_set_t now;
  CPU_ZERO(&now);
  if (::sched_getaffinity(0, sizeof now, &now) != 0) return;
  if (!CPU_EQUAL(&now, &set_)) {
    home_ = set_ = now;
    placement_ = Placement();
    return;
  }
  if (core == Placement::kAnywhere) {
    set_ = home_;
  } else {
    CPU_ZERO(&set_);
    CPU_SET(static_cast<std::size_t>(core), &set_);
  }
  // Refused, it stays where it is: slower, not wrong.
  if (::sched_setaffinity(0, sizeof set_, &set_) != 0) set_ = now;
}

void note_waker(Worker& w, int core) noexcept {
  if (auto& follower = WorkerState::of(w).follower) follower->heard(core);
}

}  // namespace loom
