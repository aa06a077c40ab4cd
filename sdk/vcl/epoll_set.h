// An epoll set of sessions, and of kernel descriptors beside them.
//
// The kernel's side is a real epoll fd with the kernel descriptors only. Sessions are items here:
// level-triggered ones stay in the ready list while they are ready and are looked at again in each
// wait; edge-triggered ones come back with the next event. Sets nest: a set is watched like any
// object.
// Threads: any; everything under the worker's mutex. One waiting thread is woken per event, and
// wakes the next one if it leaves something.
#pragma once
#include <sys/epoll.h>

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "vcl/object.h"
#include "vcl/thread_waiter.h"

namespace loom::vcl {

class EpollSet;
struct ReadyTag;
struct EpollSetTag;
struct WaiterTag;

// One registration.
class EpollItem final : public Watch, public ListNode<ReadyTag> {
 public:
  EpollItem(EpollSet& set, Object& target, int key, const epoll_event& e) noexcept
      : set_(&set), target_(&target), key_(key), events_(e.events), data_(e.data) {}
  void on_event() override;
  void on_gone() override;

 private:
  friend class EpollSet;
  EpollSet* set_;
  Object* target_;
  int key_;
  uint32_t events_;
  epoll_data_t data_;
  bool enabled_ = true;  // false: EPOLLONESHOT has fired
};

// A thread in wait().
class SetWaiter final : public ListNode<WaiterTag> {
 public:
  explicit SetWaiter(ThreadWaiter& t) noexcept : thread(t) {}
  ThreadWaiter& thread;
};

class EpollSet final : public Object, public ListNode<EpollSetTag> {
 public:
  explicit EpollSet(AppWorker& worker) : Object(Kind::kEpollSet), worker_(worker) {}
  // kernel_epfd: -1 = none; not owned.
  void init(int kernel_epfd);

  // `key` tells registrations of the same object through several descriptors apart.
  // 0, -EEXIST, -ENOENT, -EINVAL, -ELOOP.
  int add(int key, Object& target, const epoll_event& e);
  int modify(int key, Object& target, const epoll_event& e);
  int remove(int key, Object& target);

  // Linux's epoll_pwait with the time in ns, negative = for ever. A count or a negative errno.
  int wait(epoll_event* events, int max, TimeNs timeout, const sigset_t* mask);

  // Registrations of kernel sockets that may still become sessions, and then move here.
  void note_candidate(int fd, int op, const epoll_event* e);

  // The kernel's side has, or had, descriptors; said before the first one is added.
  void note_kernel_fds();
  bool has_sessions() const noexcept { return n_items_.load(std::memory_order_acquire) != 0; }
  int kernel_epfd() const noexcept { return kernel_epfd_.load(std::memory_order_relaxed); }
  // Another descriptor of the same kernel set, because the first one is about to be closed.
  void move_kernel_epfd(int fd) noexcept {
    kernel_epfd_.store(fd, std::memory_order_relaxed);
    ThreadWaiter::note_set_ended();
  }

  uint32_t poll(uint32_t wanted, bool edge) override;
  AppWorker& worker() noexcept { return worker_; }

  // Under the worker's mutex. take_candidate: the socket behind `fd` has become `target`, or was
  // closed (nullptr). give_to_kernel: `target`, known here as `fd`, has become a kernel socket.
  void take_candidate(int fd, Object* target);
  void give_to_kernel(Object& target, int fd);
  void make_ready(EpollItem& item);
  void make_all_ready();
  void drop(EpollItem& item);
  // In the child: its only thread waits for nothing.
  void after_fork() noexcept;

  EpollSet* pool_next_ = nullptr;

 private:
  void retire() override;
  using Key = std::pair<int, const Object*>;
  struct KeyHash {
    size_t operator()(const Key& k) const noexcept {
      return std::hash<const void*>()(k.second) ^
             (static_cast<size_t>(k.first) * 0x9e3779b97f4a7c15u);
    }
  };

  static constexpr int kSessionsCame = INT32_MIN;
  int wait_kernel_only(epoll_event* events, int max, TimeNs deadline, const sigset_t* mask);
  void interrupt_kernel_waiters();
  int collect(epoll_event* events, int max);
  int add_locked(int key, Object& target, const epoll_event& e);
  int look_at_kernel(epoll_event* events, int max);
  void note_kernel_fds_locked();
  bool nests(const EpollSet& other, int depth) const;
  void wake_one();

  AppWorker& worker_;
  std::atomic<int> kernel_epfd_{-1};
  std::atomic<bool> has_kernel_fds_{false};
  std::atomic<uint32_t> n_items_{0};
  std::unordered_map<Key, std::unique_ptr<EpollItem>, KeyHash> items_;
  List<EpollItem, ReadyTag> ready_;
  List<SetWaiter, WaiterTag> waiters_;
  std::unordered_map<int, epoll_event> candidates_;
  TimeNs kernel_looked_ = 0;
  bool kernel_skipped_ = false;  // by the last wait
  bool sessions_first_ = false;  // in the next wait for one event
  // Threads that sleep in the kernel's epoll_wait because there were no sessions yet.
  uint32_t kernel_waiters_ = 0;
  int kick_fd_ = -1;  // readable eventfd that tells them that this has changed
};

}  // namespace loom::vcl
