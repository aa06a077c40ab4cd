// Where a thread sleeps: an epoll fd of its own with the socket of the worker's message queue and
// the attach socket (both exclusive: one sleeper per event is woken, and passes on what concerns
// others), the doorbells of cut-through sessions, and, while it waits in an epoll set, that set's
// kernel side.
//
// That is the one descriptor that a thread needs, so RLIMIT_NOFILE says how many may sleep at once.
// Who wakes a thread has it look at a descriptor that is always readable, the same for all threads,
// in which it is not interested else.
#pragma once
#include "vcl/object.h"
#include "vcl/spin.h"
#include "vcl/sys.h"

namespace loom::vcl {

class ThreadWaiter {
 public:
  struct Woken {
    bool queue = false;     // the message queue's socket is readable
    bool bells = false;     // a doorbell of a cut-through session was rung
    bool kernel = false;    // kernel descriptors are ready
    bool detached = false;  // the daemon has closed the attach socket
    int error = 0;          // EINTR
  };

  // The calling thread's. Lives until the thread ends.
  static ThreadWaiter& current();
  ~ThreadWaiter();

  // Makes it watch `worker`'s current attachment. 0 or a negative errno (no descriptors).
  // Under the worker's mutex.
  int prepare(AppWorker& worker);
  // Any thread, under the worker's mutex: ends its sleep. A thread that is awake looks for itself.
  void wake() noexcept;
  // What waits instead of sleeping (spin.h) looks at has_news() without the mutex.
  void set_spinning(bool is) noexcept {
    spinning_ = is;
    news_.store(false, std::memory_order_relaxed);
  }
  // It looks or sleeps. Under the worker's mutex.
  bool is_waiting() const noexcept { return spinning_ || asleep_; }
  bool has_news() const noexcept { return news_.load(std::memory_order_relaxed); }
  SpinGauge& gauge() noexcept { return gauge_; }
  // Around sleep(), under the worker's mutex.
  void set_asleep() noexcept { asleep_ = true; }
  void set_awake() noexcept;

  // Sleeps until woken, a signal, or the deadline. kernel_epfd: also until that one is readable.
  Woken sleep(int kernel_epfd, TimeNs deadline, const sigset_t* mask);
  // The same with descriptors of the kernel; their revents are set. fds has room for one more.
  Woken sleep(pollfd* fds, nfds_t n, TimeNs deadline, const sigset_t* mask);

  // A set has ended; a new one may get the same descriptor number.
  static void note_set_ended() noexcept { sets_ended_.fetch_add(1); }

  // After fork, in the child: the descriptors are shared with the parent, and unusable.
  void forget() noexcept;

 private:
  Woken look();
  bool include(int kernel_epfd);

  inline static std::atomic<uint64_t> sets_ended_{0};

  int epfd_ = -1;
  int wake_fd_ = -1;              // all threads'
  int kernel_epfd_ = -1;          // in epfd_
  uint64_t seen_sets_ended_ = 0;  // when it was put there
  int queue_fd_ = -1, socket_fd_ = -1, bells_fd_ = -1;
  uint64_t epoch_ = 0;  // of the attachment that epfd_ watches
  AppWorker* worker_ = nullptr;
  bool asleep_ = false, woken_ = false, spinning_ = false;
  std::atomic<bool> news_{false};  // while it spins: wake() was called
  SpinGauge gauge_;
};

// Whether a call that a signal has interrupted should go on: every handler of the process has
// SA_RESTART. (The kernel knows which signal it was; when handlers differ, this errs on EINTR.)
bool signals_restart() noexcept;

// Wakes the thread that waits for an object.
class ThreadWatch final : public Watch {
 public:
  explicit ThreadWatch(ThreadWaiter* waiter = nullptr) noexcept : waiter_(waiter) {}
  void on_event() override { waiter_->wake(); }
  void set_waiter(ThreadWaiter& waiter) noexcept { waiter_ = &waiter; }
  bool of_thread() const noexcept override { return true; }

 private:
  ThreadWaiter* waiter_;
};

}  // namespace loom::vcl
