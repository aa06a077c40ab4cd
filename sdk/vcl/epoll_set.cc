#include "vcl/epoll_set.h"

#include <algorithm>
#include <cerrno>

#include "vcl/app_worker.h"

namespace loom::vcl {
namespace {

// A set with ready sessions looks at its kernel descriptors in every other wait, and after this
// time.
constexpr TimeNs kKernelInterval = 200 * kMicrosecond;
constexpr int kMaxNesting = 5;  // as the kernel's
// Mark our own descriptors in the kernel's set: addresses that no program has as its data.
const char kKickMark = 0, kNestedMark = 0;

uint64_t kick_data() noexcept { return reinterpret_cast<uintptr_t>(&kKickMark); }
uint64_t nested_data() noexcept { return reinterpret_cast<uintptr_t>(&kNestedMark); }

static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
              EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP && EPOLLRDNORM == POLLRDNORM);
constexpr uint32_t kReadiness = 0xffff;  // the rest are modes: EPOLLET and so on

}  // namespace

void EpollItem::on_event() { set_->make_ready(*this); }
void EpollItem::on_gone() { set_->drop(*this); }

void EpollSet::init(int kernel_epfd) {
  kernel_epfd_ = kernel_epfd;
  has_kernel_fds_.store(false, std::memory_order_relaxed);
  n_items_.store(0, std::memory_order_relaxed);
  kernel_looked_ = 0;
  refs_.store(1, std::memory_order_release);
}

void EpollSet::retire() {
  {
    const std::lock_guard lock(worker_.mutex());
    dismiss_watches();
    for (auto& [key, item] : items_) {
      item->Watch::unlink();
      item->target_->check_watched();
    }
    items_.clear();
    candidates_.clear();
    n_items_.store(0);
    ListNode<EpollSetTag>::unlink();
    if (kernel_epfd_ >= 0) ThreadWaiter::note_set_ended();
  }
  worker_.epoll_sets().put(this);
}

// --- Registration

int EpollSet::add(int key, Object& target, const epoll_event& e) {
  const std::lock_guard lock(worker_.mutex());
  return add_locked(key, target, e);
}

int EpollSet::add_locked(int key, Object& target, const epoll_event& e) {
  if (items_.contains({key, &target})) return -EEXIST;
  if ((e.events & EPOLLEXCLUSIVE) && (e.events & (EPOLLONESHOT | EPOLLRDHUP))) return -EINVAL;
  if (target.kind() == Kind::kEpollSet) {
    if (e.events & EPOLLEXCLUSIVE) return -EINVAL;
    const auto& inner = static_cast<EpollSet&>(target);
    if (&inner == this) return -EINVAL;
    if (inner.nests(*this, kMaxNesting)) return -ELOOP;
    if (kernel_epfd_ >= 0 && inner.kernel_epfd_ >= 0) {
      // Only to be woken; whether the inner set is ready is for its item to say.
      epoll_event mark{};
      mark.events = EPOLLIN | EPOLLET;
      mark.data.u64 = nested_data();
      sys::epoll_ctl(kernel_epfd_, EPOLL_CTL_ADD, inner.kernel_epfd_, &mark);
      note_kernel_fds_locked();
    }
  }
  auto& item = items_[{key, &target}];
  item = std::make_unique<EpollItem>(*this, target, key, e);
  target.add_watch(*item);
  if (n_items_.fetch_add(1) == 0) interrupt_kernel_waiters();
  make_ready(*item);  // the next wait looks whether it is, and arms
  return 0;
}

int EpollSet::modify(int key, Object& target, const epoll_event& e) {
  const std::lock_guard lock(worker_.mutex());
  const auto found = items_.find({key, &target});
  if (found == items_.end()) return -ENOENT;
  EpollItem& item = *found->second;
  if ((e.events | item.events_) & EPOLLEXCLUSIVE) return -EINVAL;
  item.events_ = e.events;
  item.data_ = e.data;
  item.enabled_ = true;
  make_ready(item);
  return 0;
}

int EpollSet::remove(int key, Object& target) {
  const std::lock_guard lock(worker_.mutex());
  if (items_.erase({key, &target}) == 0) return -ENOENT;
  n_items_.fetch_sub(1);
  target.check_watched();
  return 0;
}

void EpollSet::drop(EpollItem& item) {
  items_.erase({item.key_, item.target_});
  n_items_.fetch_sub(1);
}

bool EpollSet::nests(const EpollSet& other, int depth) const {
  if (depth == 0) return true;
  for (const auto& [key, item] : items_) {
    if (item->target_->kind() != Kind::kEpollSet) continue;
    const auto& inner = static_cast<const EpollSet&>(*item->target_);
    if (&inner == &other || inner.nests(other, depth - 1)) return true;
  }
  return false;
}

void EpollSet::note_kernel_fds() {
  if (has_kernel_fds_.load(std::memory_order_relaxed)) [[likely]]
    return;
  const std::lock_guard lock(worker_.mutex());
  note_kernel_fds_locked();
}

void EpollSet::note_kernel_fds_locked() {
  if (has_kernel_fds_.exchange(true)) return;
  // Those who sleep do not watch the kernel's side yet.
  waiters_.for_each([](SetWaiter& w) { w.thread.wake(); });
}

void EpollSet::note_candidate(int fd, int op, const epoll_event* e) {
  const std::lock_guard lock(worker_.mutex());
  if (op == EPOLL_CTL_DEL)
    candidates_.erase(fd);
  else
    candidates_[fd] = *e;
}

void EpollSet::take_candidate(int fd, Object* target) {
  const auto found = candidates_.find(fd);
  if (found == candidates_.end()) return;
  if (target) add_locked(fd, *target, found->second);
  candidates_.erase(found);
}

void EpollSet::give_to_kernel(Object& target, int fd) {
  for (auto at = items_.begin(); at != items_.end();) {
    EpollItem& item = *at->second;
    if (item.target_ != &target || item.key_ != fd) {
      ++at;
      continue;
    }
    epoll_event e{item.events_, item.data_};
    sys::epoll_ctl(kernel_epfd_, EPOLL_CTL_ADD, fd, &e);
    note_kernel_fds_locked();
    at = items_.erase(at);
    n_items_.fetch_sub(1);
  }
}

// --- Readiness

void EpollSet::make_ready(EpollItem& item) {
  if (!item.enabled_ || item.ListNode<ReadyTag>::linked()) return;
  ready_.push_back(item);
  wake_one();
  notify();  // sets that this one is in
}

void EpollSet::make_all_ready() {
  for (const auto& [key, item] : items_) make_ready(*item);
}

void EpollSet::after_fork() noexcept {
  dismiss_thread_watches();
  while (!waiters_.empty()) waiters_.front().unlink();
  kernel_waiters_ = 0;
}

void EpollSet::wake_one() {
  if (!waiters_.empty()) waiters_.front().thread.wake();
}

// Moves what is ready to `events`. A level-triggered item goes to the back of the list, so that all
// get their turn when there is more than `max`; under the worker's mutex.
int EpollSet::collect(epoll_event* events, int max) {
  int n = 0;
  List<EpollItem, ReadyTag> again;
  while (n < max && !ready_.empty()) {
    EpollItem& item = ready_.front();
    item.ListNode<ReadyTag>::unlink();
    const bool edge = item.events_ & EPOLLET;
    // One that is disabled now hears nothing of what comes next, so it does not ask for it.
    const bool once = item.events_ & EPOLLONESHOT;
    const uint32_t mask = item.target_->poll(item.events_ & kReadiness, edge && !once);
    if (mask == 0) continue;
    events[n++] = {mask, item.data_};
    if (once)
      item.enabled_ = false;
    else if (!edge)
      again.push_back(item);
  }
  while (!again.empty()) {
    EpollItem& item = again.front();
    item.ListNode<ReadyTag>::unlink();
    ready_.push_back(item);
  }
  return n;
}

uint32_t EpollSet::poll(uint32_t wanted, bool) {
  if (!(wanted & (POLLIN | POLLRDNORM))) return 0;
  bool any = false;
  List<EpollItem, ReadyTag> still;
  while (!any && !ready_.empty()) {
    EpollItem& item = ready_.front();
    item.ListNode<ReadyTag>::unlink();
    if (item.target_->poll(item.events_ & kReadiness) == 0) continue;
    any = true;
    still.push_back(item);
  }
  while (!still.empty()) {
    EpollItem& item = still.front();
    item.ListNode<ReadyTag>::unlink();
    ready_.push_back(item);
  }
  if (!any && has_kernel_fds_.load(std::memory_order_relaxed) && kernel_epfd_ >= 0) {
    pollfd p{kernel_epfd_, POLLIN, 0};
    any = sys::poll_now(&p, 1) > 0;
  }
  return any ? wanted & (POLLIN | POLLRDNORM) : 0;
}

// --- Waiting

int EpollSet::wait(epoll_event* events, int max, TimeNs timeout, const sigset_t* mask) {
  if (max <= 0) return -EINVAL;
  const TimeNs deadline = timeout == 0 ? 0 : sys::deadline_in(timeout);
  if (!has_sessions() && kernel_epfd_ >= 0) {
    const int n = wait_kernel_only(events, max, deadline, mask);
    if (n != kSessionsCame) return n;
  }
  ThreadWaiter& thread = ThreadWaiter::current();
  HeldSignals held;
  std::unique_lock lock(worker_.mutex());
  ScopedWatch<SetWaiter> waiter(lock, thread);
  int error = 0;
  uint32_t rung = 0;
  bool kernel_ready = false;
  while (true) {
    int n = 0;
    const bool kernel = kernel_epfd_ >= 0 && has_kernel_fds_.load(std::memory_order_relaxed);
    worker_.drain();
    // With room for one event the two sides take turns at being first.
    if (max == 1 && (sessions_first_ = !sessions_first_)) n = collect(events, 1);
    if (kernel && n < max) {
      const TimeNs t = sys::now();
      if (kernel_ready || deadline == 0 || kernel_skipped_ ||
          t - kernel_looked_ > kKernelInterval) {
        kernel_looked_ = t;
        kernel_skipped_ = false;
        // At most half, so that neither side starves the other.
        n += look_at_kernel(events + n, std::max(1, max / 2));
      } else {
        kernel_skipped_ = true;
      }
    }
    if (n < max) n += collect(events + n, max - n);
    if (n != 0 || error != 0 || deadline == 0 ||
        (deadline != sys::kForever && sys::now() >= deadline)) {
      if (n != 0) thread.gauge().satisfied();
      waiter->unlink();
      if (!ready_.empty()) wake_one();
      return n != 0 ? n : error;
    }
    if (const int e = thread.prepare(worker_); e != 0) return e;
    if (!waiter->linked()) waiters_.push_back(*waiter);
    // A signal that only the mask lets in has to come to the call with the mask.
    if (!mask && worker_.may_spin(thread, rung)) {
      // What of the kernel's is ready already does not wait for that.
      if ((kernel_ready = kernel && kernel_skipped_)) continue;
      if (worker_.spin(lock, thread, held, deadline, rung)) continue;
    }
    if (!worker_.begin_sleep(thread, rung)) continue;
    const TimeNs until = std::min(deadline, worker_.sleep_limit());
    const auto woken = worker_.sleep(lock, thread, [&] {
      return thread.sleep(kernel ? kernel_epfd() : -1, until, mask ? mask : held.mask());
    });
    error = woken.error;
    kernel_ready = woken.kernel;
  }
}

int EpollSet::look_at_kernel(epoll_event* events, int max) {
  const int n = std::max(0, sys::epoll_look(kernel_epfd_, events, max));
  const auto end = std::remove_if(events, events + n, [](const epoll_event& e) {
    return e.data.u64 == kick_data() || e.data.u64 == nested_data();
  });
  if (end != events + n)
    for (const auto& [key, item] : items_)
      if (item->target_->kind() == Kind::kEpollSet) make_ready(*item);
  return static_cast<int>(end - events);
}

// No sessions yet: the kernel waits, until the first session is registered.
int EpollSet::wait_kernel_only(epoll_event* events, int max, TimeNs deadline,
                               const sigset_t* mask) {
  struct Count {
    EpollSet& set;
    explicit Count(EpollSet& s) : set(s) {
      const std::lock_guard lock(set.worker_.mutex());
      ++set.kernel_waiters_;
    }
    ~Count() {
      const std::lock_guard lock(set.worker_.mutex());
      if (--set.kernel_waiters_ == 0) sys::close_internal(std::exchange(set.kick_fd_, -1));
    }
  } const count(*this);
  while (true) {
    if (has_sessions()) return kSessionsCame;
    int n = sys::hooks.epoll_pwait(kernel_epfd_, events, max,
                                   deadline == 0 ? 0 : sys::millis_until(deadline), mask);
    if (n < 0) return -errno;
    const auto end = std::remove_if(events, events + n,
                                    [](const epoll_event& e) { return e.data.u64 == kick_data(); });
    const bool kicked = end != events + n;
    n = static_cast<int>(end - events);
    if (n != 0 || !kicked) return n;
  }
}

// Under the worker's mutex. Closing the descriptor, when the last has woken, removes it again.
void EpollSet::interrupt_kernel_waiters() {
  if (kernel_waiters_ == 0 || kick_fd_ >= 0) return;
  kick_fd_ = sys::make_internal(sys::eventfd());
  const uint64_t one = 1;
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u64 = kick_data();
  (void)!sys::write(kick_fd_, &one, sizeof one);
  sys::epoll_ctl(kernel_epfd_, EPOLL_CTL_ADD, kick_fd_, &e);
}

}  // namespace loom::vcl
