// On which core a worker is that may be on any.
//
// With little to do, a worker is woken by an application, does a little for it, wakes it, and
// sleeps again. On different cores each of the two wake-ups is an interrupt to a core that has gone
// idle, which costs more than the work; on the same core they are switches from one thread to the
// other. The kernel's scheduler prefers idle cores. So a worker that has little to do, and is woken
// mostly from one core, stays on that core; with more to do, or when others want the core, it is
// where the kernel puts it.
#pragma once
#include <sched.h>

#include <cstdint>
#include <string_view>

#include <hostloom/types.h>
#include <hostloom/unique_fd.h>

namespace loom {

struct Worker;

// The rule, without system calls. One worker's.
class Placement {
 public:
  static constexpr int kAnywhere = -1;
  static constexpr TimeNs kWindow = 10 * kMillisecond;
  // After it had to wait for the core, or came back to one that it had been led away from, and
  // twice as long each time; from the first again after as long without that.
  static constexpr TimeNs kBackOff = kSecond, kMostBackOff = 60 * kSecond;
  static constexpr int64_t kLeastWakes = 500;   // a second, to go to a core
  static constexpr TimeNs kPatience = kSecond;  // to stay there without one, or to come back

  // An application that runs on `core` has woken it.
  void heard(int core) noexcept;
  bool has_heard() const noexcept { return n_heard_ != 0; }
  bool is_over(TimeNs now) const noexcept { return now - began_ >= kWindow; }
  // The end of a window. `ran`, `waited`: what the thread has run with something to do, and was
  // runnable without a core, ever. Returns the core to be on until the next one, or kAnywhere.
  int decide(TimeNs now, TimeNs ran, TimeNs waited) noexcept;
  int core() const noexcept { return core_; }
  bool is_beside() const noexcept { return core_ != kAnywhere; }

 private:
  // What the wakes that were counted say: where it should be, or nothing yet.
  static constexpr int kUnsaid = -2;
  int wanted(TimeNs now) const noexcept;
  void bar(TimeNs now) noexcept;

  TimeNs began_ = 0, ran_ = 0, waited_ = 0;
  TimeNs late_ = 0;  // how long it has had to wait for the core, less a quarter of the time since
  TimeNs barred_until_ = 0, back_off_ = kBackOff;
  int core_ = kAnywhere, last_choice_ = kAnywhere;
  int left_ = kAnywhere;  // the core that others' wakes led it away from last, and when
  TimeNs left_at_ = 0;
  // Wakes since counting_since_, of them those from core_, and which core most came from, if one
  // did: a majority vote in one pass.
  TimeNs counting_since_ = 0;
  int64_t n_heard_ = 0, n_own_ = 0, votes_ = 0;
  int candidate_ = kAnywhere;
};

// Nanoseconds that a thread has run and has waited for a core, of /proc/TID/schedstat. False: it
// does not say, or the kernel does not count.
bool parse_schedstat(std::string_view text, TimeNs& ran, TimeNs& waited) noexcept;

// Does what the rule says. Thread: the worker.
class Follower {
 public:
  // For the calling thread, between the cores that it may be on now.
  Follower() noexcept;
  // Of no use: there is one core, or no figures to go by.
  bool is_idle() const noexcept { return !stat_; }
  void heard(int core) noexcept;
  // Now and then, before each sleep at least.
  // `idle`: how long it has run without anything to do, ever.
  void look(TimeNs now, TimeNs idle) noexcept {
    if ((placement_.has_heard() || is_beside()) && placement_.is_over(now)) [[unlikely]]
      decide(now, idle);
  }
  bool is_beside() const noexcept { return placement_.is_beside(); }
  int core() const noexcept { return placement_.core(); }
  // Back to where the kernel puts it, for good.
  void stop() noexcept;

 private:
  bool read(TimeNs& ran, TimeNs& waited) noexcept;
  void decide(TimeNs now, TimeNs idle) noexcept;
  void go(int core) noexcept;

  Placement placement_;
  cpu_set_t home_, set_;  // all it may be on; where it was put last
  UniqueFd stat_;         // /proc/thread-self/schedstat
};

// An application on `core` has woken the worker; anything else than a core is passed over. On it.
void note_waker(Worker&, int core) noexcept;

}  // namespace loom
