#include "vcl/app_worker.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace loom::vcl {
namespace {

constexpr TimeNs kAttachRetry = kSecond;
constexpr TimeNs kCheckInterval = 100 * kMillisecond;
// While events wait for room in the daemon's queue, which it does not announce.
constexpr TimeNs kUnsentRetry = kMillisecond;
// Cut-through pairs that stay mapped without sessions; what the daemon has given up holds no pages.
constexpr std::ptrdiff_t kUnusedPairs = 4;

uint32_t daemon_worker_of(uint64_t handle) noexcept { return (handle >> 32) & 0xff; }

// A doorbell that is not reached, or has more to read, ends the next sleep: no harm.
// What wakes is a socket of datagrams, of few: but for somebody who rings on, it is quiet then.
void forget_rings_of(int fd) noexcept {
  mmsghdr rings[16]{};
  if (sys::recvmmsg(fd, rings, 16, MSG_DONTWAIT) >= 0 || errno != ENOTSOCK) return;
  uint64_t count;  // an eventfd
  (void)!sys::read(fd, &count, sizeof count);
}

}  // namespace

AppWorker::AppWorker(Config config, std::string app_name)
    : config_(std::move(config)), app_name_(std::move(app_name)) {
  join_fork_handlers(*this);
}

AppWorker::~AppWorker() {
  leave_fork_handlers(*this);
  sys::close_internal(bells_fd_);
}

// --- Attachment

// Of all workers of the process: a thread's waiter must not take one worker for another that lived
// at the same address.
void AppWorker::new_epoch() noexcept {
  static std::atomic<uint64_t> last{1};
  epoch_.store(last.fetch_add(2) + 2, std::memory_order_release);
}

void AppWorker::install(std::shared_ptr<Attachment> a) {
  rx_fifo_size_.store(a->rx_fifo_size(), std::memory_order_relaxed);
  tx_fifo_size_.store(a->tx_fifo_size(), std::memory_order_relaxed);
  attachment_ = std::move(a);
  if (bells_fd_ < 0) bells_fd_ = sys::make_internal(sys::epoll_create());
  new_epoch();
  if (events_fd_ >= 0) watch_events();
}

Result<void> AppWorker::attach(bool insist) {
  if (attached()) [[likely]]
    return {};
  const std::lock_guard attach_lock(attach_mutex_);
  if (attached()) return {};
  if (!insist && retry_at_ != 0 && sys::now() < retry_at_) return attach_error_;
  auto opened = Attachment::open(config_, app_name_);
  if (!opened) {
    attach_error_ = opened.error();
    retry_at_ = sys::now() + kAttachRetry;
    if (config_.debug) std::fprintf(stderr, "vcl: %s\n", attach_error_.message.c_str());
    return attach_error_;
  }
  retry_at_ = 0;
  const std::lock_guard lock(mutex_);
  install(std::move(*opened));
  return {};
}

Result<void> AppWorker::attach(WorkerEnds ends) {
  auto a = Attachment::from(std::move(ends));
  if (!a) return a.error();
  const std::lock_guard lock(mutex_);
  install(std::move(*a));
  return {};
}

// The daemon is gone. Under mutex_.
void AppWorker::detach() {
  if (!attachment_ || attachment_->dead()) return;
  attachment_->set_dead();
  if (config_.debug) std::fprintf(stderr, "vcl: the daemon has gone away\n");
  end_sessions();
}

// Every session of this attachment has ended; the attachment goes with the last of them.
void AppWorker::end_sessions() {
  epoch_.store(epoch_.load() + 1, std::memory_order_release);
  {
    const std::lock_guard unsent_lock(unsent_mutex_);
    unsent_.clear();
    has_unsent_.store(false);
  }
  by_handle_.clear();
  by_context_.clear();
  pairs_.clear();
  live_sessions_.for_each([this](Session& s) {
    if (s.uses(*attachment_)) s.on_daemon_gone();
  });
  attachment_.reset();
}

void AppWorker::check_daemon() {
  const std::lock_guard lock(mutex_);
  if (!attachment_) return;
  const TimeNs t = sys::now();
  if (t - last_check_ < kCheckInterval) return;
  last_check_ = t;
  pollfd p{attachment_->socket(), POLLRDHUP, 0};
  if (sys::poll_now(&p, 1) > 0 && p.revents) detach();
}

void AppWorker::leave() {
  const std::lock_guard lock(mutex_);
  if (!attachment_) return;
  const auto a = attachment_;
  detach();
  a->abandon();
}

int AppWorker::events_fd() {
  const std::lock_guard lock(mutex_);
  if (events_fd_ >= 0) return events_fd_;
  events_fd_ = sys::make_internal(sys::epoll_create());
  if (events_fd_ < 0) return -errno;
  ++sleepers_;
  if (attachment_) watch_events();
  return events_fd_;
}

// Under mutex_.
void AppWorker::watch_events() {
  epoll_event e{};
  e.events = EPOLLIN;
  sys::epoll_ctl(events_fd_, EPOLL_CTL_ADD, attachment_->event_fd(), &e);
  sys::epoll_ctl(events_fd_, EPOLL_CTL_ADD, bells_fd_, &e);
  e.events = EPOLLRDHUP;
  sys::epoll_ctl(events_fd_, EPOLL_CTL_ADD, attachment_->socket(), &e);
  prepare_for_sleepers();
}

// --- Cut-through

std::shared_ptr<CutThroughPair> AppWorker::cut_through_pair(Attachment& a, uint32_t segment) {
  if (&a != attachment_.get()) return nullptr;
  for (const auto& p : pairs_)
    if (p->id() == segment) return p;
  auto pair = CutThroughPair::open(a, segment);
  if (pair) pairs_.push_back(pair);
  return pair;
}

void AppWorker::drop_unused_pairs() {
  // The latest stay: the next connection may be with the same application.
  auto unused =
      std::count_if(pairs_.begin(), pairs_.end(), [](const auto& p) { return p.use_count() == 1; });
  std::erase_if(pairs_,
                [&](const auto& p) { return p.use_count() == 1 && unused-- > kUnusedPairs; });
}

// Under mutex_.
void AppWorker::forget_bells() noexcept {
  if (pairs_.size() == 1) {
    pairs_[0]->for_each_doorbell(forget_rings_of);
    return;
  }
  epoll_event events[16];
  const int n = sys::epoll_look(bells_fd_, events, 16);
  for (int i = 0; i < n; ++i) forget_rings_of(events[i].data.fd);
}

// --- Objects

Session* AppWorker::new_session(uint8_t proto, bool is_ip4, bool nonblocking, uint64_t handle) {
  Session* s = sessions_.take(*this);
  s->init(proto, is_ip4, nonblocking);
  const std::lock_guard lock(mutex_);
  live_sessions_.push_back(*s);
  if (handle) register_handle(handle, *s);
  return s;
}

EpollSet* AppWorker::new_epoll_set(int kernel_epfd) {
  EpollSet* e = epoll_sets_.take(*this);
  e->init(kernel_epfd);
  const std::lock_guard lock(mutex_);
  live_sets_.push_back(*e);
  return e;
}

void AppWorker::take_candidate(int fd, Object* target) {
  const std::lock_guard lock(mutex_);
  live_sets_.for_each([&](EpollSet& e) { e.take_candidate(fd, target); });
}

void AppWorker::give_to_kernel(Object& target, int fd) {
  const std::lock_guard lock(mutex_);
  live_sets_.for_each([&](EpollSet& e) { e.give_to_kernel(target, fd); });
}

// --- Events

uint32_t AppWorker::register_context(Session& s) {
  do {
    ++next_context_;
  } while (next_context_ == 0 || by_context_.contains(next_context_));
  by_context_[next_context_] = &s;
  return next_context_;
}

void AppWorker::forget_context(uint32_t context, bool abandoned) {
  const auto found = by_context_.find(context);
  if (found == by_context_.end()) return;
  if (abandoned)
    found->second = nullptr;  // the answer is still to come, and must be undone then
  else
    by_context_.erase(found);
}

void AppWorker::forget_handle(uint64_t handle, Session& s) {
  const auto found = by_handle_.find(handle);
  if (found != by_handle_.end() && found->second == &s) by_handle_.erase(found);
}

Session* AppWorker::find(uint64_t handle) const noexcept {
  const auto found = by_handle_.find(handle);
  return found == by_handle_.end() ? nullptr : found->second;
}

void AppWorker::dispatch(const svm::MqEvent& event) {
  using svm::ToApp;
  // Sessions in the tables are alive or waiting for this mutex to retire; either way the memory is
  // theirs.
  const auto asked = [this](uint32_t context, Session*& s) {
    const auto found = by_context_.find(context);
    if (found == by_context_.end()) return false;
    s = found->second;
    by_context_.erase(found);
    return true;
  };
  Session* s = nullptr;
  switch (static_cast<ToApp>(event.type)) {
    case ToApp::kConnected: {
      const auto e = event.as<svm::ConnectedEvent>();
      if (!asked(e.context, s)) return;
      if (s) {
        s->on_connected(e);
      } else if (e.status == 0) {
        send(*attachment_, daemon_worker_of(e.handle), svm::ToDaemon::kReset,
             svm::SessionEvent{e.handle, 0});
      }
      break;
    }
    case ToApp::kBound: {
      const auto e = event.as<svm::BoundEvent>();
      if (!asked(e.context, s)) return;
      if (s) {
        s->on_bound(e);
      } else if (e.status == 0 && e.handle != 0) {
        send(*attachment_, 0, svm::ToDaemon::kUnlisten, svm::SessionEvent{e.handle, 0});
      }
      break;
    }
    case ToApp::kInfo: {
      const auto e = event.as<svm::InfoEvent>();
      if (asked(e.context, s) && s) s->on_info(e);
      break;
    }
    case ToApp::kListenerClosed:
      s = find(event.as<svm::SessionEvent>().handle);
      if (s) s->on_listener_closed();
      break;
    case ToApp::kAcceptReady:
    case ToApp::kRx:
    case ToApp::kTxSpace:
      s = find(event.as<svm::SessionEvent>().handle);
      if (s && s->is_connectionless()) s->look_at_links();
      break;
  }
  if (s) s->notify();
}

// True: there was something.
bool AppWorker::dispatch_all() {
  if (!attachment_) return false;
  svm::MqEvent event;
  bool any = false;
  while (attachment_->queue().pop(event)) {
    dispatch(event);
    any = true;
  }
  for (const auto& pair : pairs_) any |= pair->collect([](Session& s) { s.notify(); });
  return any;
}

void AppWorker::drain() {
  if (has_unsent_.load(std::memory_order_relaxed)) [[unlikely]]
    flush_unsent();
  if (events_fd_ >= 0 && attachment_) {
    forget_rings_of(attachment_->event_fd());
    forget_bells();
  }
  if (!dispatch_all() && events_fd_ < 0) return;
  // The producer has cleared the flag on our behalf; others still sleep and rely on it.
  if (sleepers_ != 0) prepare_for_sleepers();
}

// Whatever comes from now on wakes somebody, and what came before was taken. Under mutex_.
void AppWorker::prepare_for_sleepers() {
  for (uint32_t round = 0; attachment_ && round < kMaxRounds; ++round) {
    if (prepare_sleep() == Before::kQuiet) return;
    dispatch_all();
  }
  // A peer rings without end. All bells are announced, and their last rings before that were taken.
  while (attachment_ && !attachment_->queue().prepare_sleep()) dispatch_all();
}

// kQuiet: nothing has come. Unless it is kNews, whatever comes will wake us. Under mutex_, while
// attached.
AppWorker::Before AppWorker::prepare_sleep() noexcept {
  if (!attachment_->queue().prepare_sleep()) return Before::kNews;
  if (pairs_.empty()) [[likely]]
    return Before::kQuiet;
  is_deaf_ = false;
  for (const auto& pair : pairs_) is_deaf_ |= !pair->announce_sleep(bells_fd_);
  svm::wake::fence();
  for (const auto& pair : pairs_)
    if (!pair->is_quiet()) return Before::kRung;
  return Before::kQuiet;
}

void AppWorker::finish_sleep() noexcept {
  attachment_->queue().finish_sleep();
  for (const auto& pair : pairs_) pair->end_sleep();
}

void AppWorker::process_events() {
  const std::lock_guard lock(mutex_);
  drain();
}

void AppWorker::send(Attachment& a, uint32_t daemon_worker, svm::ToDaemon type, const void* payload,
                     uint32_t len) noexcept {
  if (!has_unsent_.load(std::memory_order_acquire)) [[likely]] {
    if (a.send(daemon_worker, type, payload, len) != svm::MqProducer::Push::kFull) [[likely]]
      return;
  }
  if (&a != attachment_.get() || a.dead()) return;
  const std::lock_guard lock(unsent_mutex_);
  Unsent u{daemon_worker, type, len, {}};
  std::memcpy(u.payload, payload, len);
  unsent_.push_back(u);
  has_unsent_.store(true, std::memory_order_release);
}

// True: nothing is left. Under mutex_.
bool AppWorker::flush_unsent() noexcept {
  const std::lock_guard lock(unsent_mutex_);
  while (!unsent_.empty() && attachment_) {
    const Unsent& u = unsent_.front();
    if (attachment_->send(u.daemon_worker, u.type, u.payload, u.len) ==
        svm::MqProducer::Push::kFull)
      return false;
    unsent_.pop_front();
  }
  has_unsent_.store(!unsent_.empty(), std::memory_order_release);
  return unsent_.empty();
}

// --- Waiting

TimeNs AppWorker::sleep_limit() const noexcept {
  return has_unsent_.load(std::memory_order_relaxed) || is_deaf_ ? sys::now() + kUnsentRetry
                                                                 : sys::kForever;
}

bool AppWorker::begin_sleep(ThreadWaiter& thread, uint32_t& rung) {
  const Before before = attachment_ ? prepare_sleep() : Before::kQuiet;
  // After the last round the bells stay announced: what was rung before that is taken and looked at
  // by the caller until it comes again, and what is rung from then on writes a doorbell.
  if (before == Before::kNews || (before == Before::kRung && rung < kMaxRounds)) {
    if (before == Before::kRung) ++rung;
    // The flags that other sleepers rely on may have been cleared; the caller drains next, which
    // sets them again.
    if (sleepers_ == 0 && rung < kMaxRounds) finish_sleep();
    return false;
  }
  rung = 0;
  ++sleepers_;
  thread.set_asleep();
  return true;
}

void AppWorker::end_sleep(ThreadWaiter& thread, const ThreadWaiter::Woken& woken) {
  thread.set_awake();
  --sleepers_;
  if (woken.detached) detach();
  if (!attachment_) return;
  if (woken.queue) forget_rings_of(attachment_->event_fd());
  if (woken.bells) forget_bells();
  if (sleepers_ == 0)
    finish_sleep();
  else if (woken.queue || woken.bells)  // others rely on the flags that our waking has cleared
    prepare_for_sleepers();
}

// One place for every blocking call but those that wait for many things.
template <class Ready>
int AppWorker::wait_until(Object& o, TimeNs deadline, bool restartable, Ready&& ready) {
  ThreadWaiter& thread = ThreadWaiter::current();
  HeldSignals held;
  std::unique_lock lock(mutex_);
  struct Unwatched {  // after the watch has gone
    std::unique_lock<std::mutex>& lock;
    Object& object;
    ~Unwatched() {
      if (!lock.owns_lock()) lock.lock();
      object.check_watched();
    }
  } const unwatched{lock, o};
  ScopedWatch<ThreadWatch> watch(lock, &thread);
  o.add_watch(*watch);
  uint32_t rung = 0;
  while (true) {
    drain();
    if (ready()) {
      thread.gauge().satisfied();
      return 0;
    }
    if (deadline != sys::kForever && sys::now() >= deadline) return -EAGAIN;
    if (const int e = thread.prepare(*this); e != 0) return e;
    if (may_spin(thread, rung) && spin(lock, thread, held, deadline, rung)) continue;
    if (!begin_sleep(thread, rung)) continue;
    const TimeNs until = std::min(deadline, sleep_limit());
    const auto woken = sleep(lock, thread, [&] { return thread.sleep(-1, until, held.mask()); });
    if (woken.error == 0 || (restartable && signals_restart())) continue;
    drain();
    return ready() ? 0 : woken.error;
  }
}

int AppWorker::wait(Object& o, uint32_t mask, TimeNs deadline) {
  // A call with a timeout is not restarted after a signal (signal(7)).
  return wait_until(o, deadline, deadline == sys::kForever,
                    [&] { return o.poll(mask | kPollForCall) != 0; });
}

int AppWorker::wait_answer(Session& s, uint32_t context, TimeNs deadline) {
  return wait_until(s, deadline, true, [&] { return s.has_answer(context); });
}

int AppWorker::wait_beyond(Session& s, uint32_t seen, TimeNs deadline) {
  return wait_until(s, deadline, deadline == sys::kForever,
                    [&] { return s.readable_beyond(seen); });
}

int AppWorker::wait_room(Session& s, uint32_t n, TimeNs deadline) {
  return wait_until(s, deadline, deadline == sys::kForever, [&] { return s.has_room(n); });
}

}  // namespace loom::vcl
