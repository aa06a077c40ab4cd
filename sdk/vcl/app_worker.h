// One worker of the application: its attachment, the tables that lead from events to sessions, and
// the protocol of waiting. A preloaded process has one; a libvppcom program one per registered
// worker.
//
// Waiting. Events are hints; whoever drains the queue, for whatever reason, notifies the watchers
// of the objects concerned, and they look for themselves. A thread that wants to sleep, under the
// mutex: links its watches, drains, looks (which arms), and calls begin_sleep(); then sleeps
// without the mutex. No event is lost: an object's watch is linked before the last look, the
// queue's sleeping flag is set before the last look at the queue, and whoever drains while others
// sleep sets the flag again.
//
// Locks: mutex() first, then Session::mutex(), then Attachment's.
#pragma once
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "vcl/attachment.h"
#include "vcl/config.h"
#include "vcl/cut_through.h"
#include "vcl/epoll_set.h"
#include "vcl/held_signals.h"
#include "vcl/session.h"
#include "vcl/thread_waiter.h"

namespace loom::vcl {

class AppWorker {
 public:
  AppWorker(Config config, std::string app_name);
  ~AppWorker();
  AppWorker(const AppWorker&) = delete;
  AppWorker& operator=(const AppWorker&) = delete;

  // Attaches unless attached. After the daemon's end this attaches anew; a failed attempt is not
  // repeated for a second unless `insist`, so that a program without a daemon does not pay for each
  // socket.
  Result<void> attach(bool insist = false);
  // As the worker that `ends` describes, of an application that is attached already.
  Result<void> attach(WorkerEnds ends);
  bool attached() const noexcept { return epoch_.load(std::memory_order_acquire) & 1; }
  bool ever_attached() const noexcept { return epoch_.load(std::memory_order_acquire) != 0; }
  // Looks whether the daemon is still there, at most every 100 ms. For callers that never sleep.
  void check_daemon();

  // Leaves the application: the daemon takes what the sessions hold.
  void leave();
  // A descriptor that is readable when there are events: for programs that sleep elsewhere. Events
  // are then taken by the next call that waits. Owned by the worker. Negative errno on failure.
  int events_fd();

  // One reference, for a descriptor table.
  // handle: of an accepted session, whose events are to find it.
  Session* new_session(uint8_t proto, bool is_ip4, bool nonblocking, uint64_t handle = 0);
  EpollSet* new_epoll_set(int kernel_epfd);

  // For the preload library, where a descriptor changes sides while it is in epoll sets: it was a
  // kernel socket and is `target` now (nullptr: closed), or the other way.
  void take_candidate(int fd, Object* target);
  void give_to_kernel(Object& target, int fd);

  // Waits until `o` is ready for something in `mask`. 0, -EAGAIN (deadline), -EINTR, -EMFILE.
  int wait(Object& o, uint32_t mask, TimeNs deadline);
  // Until session `s` has more than `seen` unread bytes, or ends.
  int wait_beyond(Session& s, uint32_t seen, TimeNs deadline);
  int wait_answer(Session& s, uint32_t context, TimeNs deadline);
  // Until it takes `n` bytes at once, or none any more.
  int wait_room(Session& s, uint32_t n, TimeNs deadline);

  // Takes what is in the message queue. Not for use under a session's mutex.
  void process_events();

  const Config& config() const noexcept { return config_; }
  std::mutex& mutex() noexcept { return mutex_; }

  // --- fork (fork.cc). before_fork locks everything; each of the other two unlocks its process.
  void before_fork();
  void after_fork_in_parent();
  void after_fork_in_child();

  // --- Under mutex()

  void drain();
  // True: sleep, and call end_sleep afterwards. False: something has come, look again. `rung`: 0 at
  // first, and the caller's to keep while it holds the mutex: how often there was nothing but a
  // ring. A peer that rings without end must at last make a system call for each look.
  bool begin_sleep(ThreadWaiter& thread, uint32_t& rung);
  void end_sleep(ThreadWaiter& thread, const ThreadWaiter::Woken& woken);
  // Before begin_sleep: whether to look for a moment, without the mutex, if something comes
  // (spin.h); and that look. True: it has been without the mutex, look again.
  bool may_spin(ThreadWaiter& thread, uint32_t rung);
  bool spin(std::unique_lock<std::mutex>& lock, ThreadWaiter& thread, HeldSignals& held,
            TimeNs deadline, uint32_t& rung);
  // After begin_sleep: runs `sleep_now` without the mutex, then ends the sleep, even when the
  // thread is cancelled in it.
  template <class F>
  ThreadWaiter::Woken sleep(std::unique_lock<std::mutex>& lock, ThreadWaiter& thread,
                            F&& sleep_now) {
    struct End {
      AppWorker& worker;
      std::unique_lock<std::mutex>& lock;
      ThreadWaiter& thread;
      ThreadWaiter::Woken woken;
      ~End() {
        lock.lock();
        worker.end_sleep(thread, woken);
      }
    };
    ThreadWaiter::Woken copy;
    End end{*this, lock, thread, {}};
    const bool may_spin = !pairs_.empty();
    lock.unlock();
    const TimeNs begin = may_spin ? sys::now() : 0;
    copy = end.woken = sleep_now();
    if (may_spin) thread.gauge().slept(sys::now() - begin, config_.spin);
    return copy;
  }
  // Odd while attached; changes with every attachment.
  uint64_t epoch() const noexcept { return epoch_.load(std::memory_order_relaxed); }
  // Of sessions that do not ask for a size, as the daemon said last; before it has, what is usual.
  uint32_t rx_fifo_size() const noexcept { return rx_fifo_size_.load(std::memory_order_relaxed); }
  uint32_t tx_fifo_size() const noexcept { return tx_fifo_size_.load(std::memory_order_relaxed); }
  Attachment* current() noexcept { return attachment_.get(); }
  std::shared_ptr<Attachment> attachment_locked() const { return attachment_; }
  uint32_t register_context(Session& s);
  void forget_context(uint32_t context, bool abandoned);
  void register_handle(uint64_t handle, Session& s) { by_handle_[handle] = &s; }
  void forget_handle(uint64_t handle, Session& s);
  TimeNs sleep_limit() const noexcept;
  // The cut-through pair with that segment of attachment `a`, mapped if it is not yet; nullptr when
  // it cannot be.
  std::shared_ptr<CutThroughPair> cut_through_pair(Attachment& a, uint32_t segment);
  // A session has let go of its pair.
  void drop_unused_pairs();
  // In it are the doorbells of all pairs. Valid while attached.
  int bells_fd() const noexcept { return bells_fd_; }

  // --- Any lock may be held

  // Sends an event for the session layer. While the daemon's queue is full it is kept here, and
  // sent before later ones.
  void send(Attachment& a, uint32_t daemon_worker, svm::ToDaemon type, const void* payload,
            uint32_t len) noexcept;
  template <class T>
  void send(Attachment& a, uint32_t daemon_worker, svm::ToDaemon type, const T& payload) noexcept {
    send(a, daemon_worker, type, &payload, sizeof payload);
  }

  Pool<Session>& sessions() noexcept { return sessions_; }
  Pool<EpollSet>& epoll_sets() noexcept { return epoll_sets_; }

 private:
  struct Unsent {
    uint32_t daemon_worker;
    svm::ToDaemon type;
    uint32_t len;
    std::byte payload[sizeof(svm::MqSlot::payload)];
  };

  static constexpr uint32_t kMaxRounds = 8;  // of taking what peers ring meanwhile

  template <class Ready>
  int wait_until(Object& o, TimeNs deadline, bool restartable, Ready&& ready);
  void install(std::shared_ptr<Attachment> a);
  void detach();
  void new_epoch() noexcept;
  void end_sessions();
  void watch_events();
  bool dispatch_all();
  enum class Before { kQuiet, kRung, kNews };
  Before prepare_sleep() noexcept;
  void prepare_for_sleepers();
  void finish_sleep() noexcept;
  void forget_bells() noexcept;
  void dispatch(const svm::MqEvent& e);
  bool flush_unsent() noexcept;
  Session* find(uint64_t handle) const noexcept;

  const Config config_;
  const bool has_two_cores_ = sys::hooks.online_cores() > 1;
  const std::string app_name_;
  std::mutex mutex_;
  std::mutex attach_mutex_;  // one attempt at a time; before mutex_
  std::shared_ptr<Attachment> attachment_;
  std::atomic<uint32_t> rx_fifo_size_{1u << 20}, tx_fifo_size_{1u << 20};
  std::atomic<uint64_t> epoch_{0};
  TimeNs retry_at_ = 0;  // after a failed attach
  Error attach_error_;
  TimeNs last_check_ = 0;
  uint32_t sleepers_ = 0;  // the holder of events_fd_ counts as one
  int events_fd_ = -1;
  int bells_fd_ = -1;
  bool is_deaf_ = false;                                // to some doorbell: sleeps are short
  std::vector<std::shared_ptr<CutThroughPair>> pairs_;  // with sessions of ours
  uint32_t next_context_ = 0;
  std::unordered_map<uint64_t, Session*> by_handle_;
  std::unordered_map<uint32_t, Session*> by_context_;  // nullptr: closed while it was connecting
  List<Session, SessionTag> live_sessions_;
  List<EpollSet, EpollSetTag> live_sets_;
  List<Look, LookTag> looks_;
  Pool<Session> sessions_;
  Pool<EpollSet> epoll_sets_;
  std::mutex unsent_mutex_;
  std::deque<Unsent> unsent_;
  std::atomic<bool> has_unsent_{false};
  std::unique_ptr<WorkerEnds> child_ends_;  // between before_fork and the end of fork
};

// Registers the worker with pthread_atfork's handlers.
void join_fork_handlers(AppWorker& w);
void leave_fork_handlers(AppWorker& w);

// A watch (or another list element) that leaves its list under the worker's mutex, however the
// scope ends.
template <class W>
class ScopedWatch {
 public:
  template <class... Args>
  explicit ScopedWatch(std::unique_lock<std::mutex>& lock, Args&&... args)
      : lock_(lock), watch_(std::forward<Args>(args)...) {}
  ~ScopedWatch() {
    if (!lock_.owns_lock()) lock_.lock();
    watch_.unlink();
  }
  W& operator*() noexcept { return watch_; }
  W* operator->() noexcept { return &watch_; }

 private:
  std::unique_lock<std::mutex>& lock_;
  W watch_;
};

}  // namespace loom::vcl
