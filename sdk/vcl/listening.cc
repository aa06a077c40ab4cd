// Session: listeners, and connections from their accept queues.
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kMaxBacklogSlots = 1u << 20;

}  // namespace

int Session::listen(uint32_t backlog) { return ask_listen(backlog, false); }

int Session::bind_end() { return ask_listen(1, true); }

int Session::ask_listen(uint32_t backlog, bool only_binds) {
  if (const auto attached = worker_.attach(); !attached)
    return -errno_of(static_cast<int32_t>(attached.error().code));
  {
    const std::lock_guard worker_lock(worker_.mutex());
    const std::lock_guard lock(mutex_);
    if (is_listener()) return 0;
    if (state() != State::kIdle || (only_binds && bound_end_)) return -EINVAL;
    attachment_ = worker_.attached() ? worker_.attachment_locked() : nullptr;
    if (!attachment_) return -ECONNREFUSED;
    const int64_t number = only_binds ? 0 : send_settings();
    if (number < 0) return static_cast<int>(number);
    svm::ListenEvent e{};
    e.context = context_ = worker_.register_context(*this);
    e.proto = proto_;
    e.local = local_;
    e.backlog = backlog;
    e.only_binds = only_binds;
    e.bound = bound_end_ ? bound_end_->number() : 0;
    e.rx_fifo_size = rx_to_ask();
    e.tx_fifo_size = tx_to_ask();
    e.options = options_;
    e.options.settings = static_cast<uint32_t>(number);
    state_.store(State::kBinding, std::memory_order_release);
    worker_.send(*attachment_, Attachment::kListenerWorker, svm::ToDaemon::kListen, e);
  }
  const TimeNs deadline = sys::deadline_in(from_seconds(worker_.config().session_timeout));
  int outcome;
  do {
    outcome = worker_.wait(*this, kPollSettled, deadline);
  } while (outcome == -EINTR);
  const std::lock_guard worker_lock(worker_.mutex());
  const std::lock_guard lock(mutex_);
  if (state() == State::kListening) return 0;
  if (state() == State::kBinding) {  // no answer in time, or no descriptors to wait with
    worker_.forget_context(context_, true);
    error_ = outcome == -EAGAIN ? ETIMEDOUT : -outcome;
  }
  state_.store(State::kIdle, std::memory_order_release);
  return -std::exchange(error_, 0);
}

int Session::replace_pairs(std::span<const uint32_t> numbers) {
  // While another thread's listen() is under way: what comes of it comes first.
  const TimeNs deadline = sys::deadline_in(from_seconds(worker_.config().session_timeout));
  while (state() == State::kBinding)
    if (const int outcome = worker_.wait(*this, kPollSettled, deadline);
        outcome != 0 && outcome != -EINTR)
      return outcome == -EAGAIN ? -ETIMEDOUT : outcome;
  const std::lock_guard worker_lock(worker_.mutex());
  const std::lock_guard lock(mutex_);
  if (state() != State::kListening || !attachment_) return -EINVAL;
  SecretString fresh;
  (void)read_settings(settings, [&](Setting type, std::string_view value) {
    if (type != Setting::kPair && type != Setting::kCertificate && type != Setting::kPrivateKey)
      add_setting(fresh, type, value);
  });
  for (const uint32_t number : numbers) add_setting(fresh, Setting::kPair, number);
  std::swap(settings, fresh);
  const int64_t number = send_settings();
  if (number > 0) {
    const auto used = attachment_->use_settings(handle_, static_cast<uint32_t>(number));
    if (used) return 0;
    std::swap(settings, fresh);
    return -errno_of(static_cast<int32_t>(used.error().code));
  }
  std::swap(settings, fresh);
  return static_cast<int>(number);
}

void Session::on_bound(const svm::BoundEvent& e) {
  const std::lock_guard lock(mutex_);
  if (e.status == 0 && e.handle >> 32 == 0) {  // bound alone
    local_ = e.local;
    if (e.handle != 0)
      bound_end_ =
          std::make_shared<BoundEnd>(worker_, attachment_, static_cast<uint32_t>(e.handle));
    state_.store(State::kIdle, std::memory_order_release);
    return;
  }
  svm::ListenerShared* l = nullptr;
  uint32_t capacity = 0;
  if (e.status == 0) {
    l = attachment_->table().resolve_as<svm::ListenerShared>(e.listener);
    if (l) capacity = l->capacity;
    if (!std::has_single_bit(capacity) || capacity > kMaxBacklogSlots ||
        !attachment_->table().resolve(e.listener, svm::listener_bytes(capacity)))
      l = nullptr;
  }
  if (!l) {
    fail(e.status ? errno_of(e.status) : EIO);
    return;
  }
  l->holders.fetch_or(attachment_->worker_bit());
  listener_ = l;
  accept_queue_ = svm::AcceptConsumer(*l, capacity);
  handle_ = e.handle;
  local_ = e.local;
  worker_.register_handle(handle_, *this);
  state_.store(State::kListening, std::memory_order_release);
}

// --- Accepting

// A thread in accept(). While it waits it is its own to decide what becomes of a connection that it
// was chosen for: it takes it, or, however it leaves (cancelled, say), passes it on.
class Session::Accepting {
 public:
  explicit Accepting(Session& listener) : listener_(listener) {}
  ~Accepting() {
    if (!waits_) return;
    const std::lock_guard worker_lock(listener_.worker_.mutex());
    {
      const std::lock_guard lock(listener_.mutex_);
      --listener_.accepting_;
    }
    listener_.check_watched();
  }
  void waits() {
    if (std::exchange(waits_, true)) return;
    const std::lock_guard lock(listener_.mutex_);
    ++listener_.accepting_;
  }

 private:
  Session& listener_;
  bool waits_ = false;
};

int Session::accept(Session*& child, bool child_nonblocking) {
  TimeNs deadline = 0;
  Accepting accepting(*this);
  while (true) {
    svm::AcceptedSession a;
    bool got = false;
    {
      const std::lock_guard lock(mutex_);
      if (state() != State::kListening) return -EINVAL;
      got = accept_queue_.pop(a);
    }
    if (got) {
      Session* fresh = worker_.new_session(proto_, socket_is_ip4, child_nonblocking, a.handle);
      bool good;
      {
        std::unique_lock worker_lock(worker_.mutex(), std::defer_lock);
        if (a.cut_through != svm::CutThrough::kNo) worker_lock.lock();
        const std::lock_guard lock(mutex_);
        good = accept_one(*fresh, a);
        n_accepted_ += good;
      }
      if (good) {
        child = fresh;
        return 0;
      }
      // Not ours to use, so the peer hears of it; the next one may be good.
      {
        const std::lock_guard lock(mutex_);
        if (attachment_)
          worker_.send(*attachment_, attachment_->daemon_worker_of(a.handle), svm::ToDaemon::kReset,
                       svm::SessionEvent{a.handle, 0});
      }
      fresh->unref();
      continue;
    }
    if (nonblocking()) return -EAGAIN;
    if (deadline == 0) deadline = sys::deadline_in(rcv_timeout.load());
    accepting.waits();
    if (const int e = worker_.wait(*this, POLLIN, deadline); e != 0) return e;
  }
}

// The child starts with the listener's options, as on Linux.
bool Session::accept_one(Session& child, svm::AcceptedSession& a) {
  if (!attachment_) return false;  // the listener was closed meanwhile
  child.attachment_ = attachment_;
  child.handle_ = a.handle;
  child.options_ = options_;
  if (a.interface != 0) child.options_.interface = a.interface;
  child.listener_index_ = index_;
  child.rx_size = rx_size;
  child.tx_size = tx_size;
  child.reuse_addr = reuse_addr;
  child.rcv_lowat.store(rcv_lowat.load());
  child.rcv_timeout.store(rcv_timeout.load());
  child.snd_timeout.store(snd_timeout.load());
  child.local_ = {.is_ip4 = a.is_ip4, .reserved = 0, .port = a.local_port, .ip = {}};
  child.remote_ = {.is_ip4 = a.is_ip4, .reserved = 0, .port = a.remote_port, .ip = {}};
  std::memcpy(child.local_.ip, a.local_ip, sizeof a.local_ip);
  std::memcpy(child.remote_.ip, a.remote_ip, sizeof a.remote_ip);
  if (!child.adopt(a.session, a.handle, a.cut_through)) return false;
  child.connect_reported_ = true;
  child.state_.store(State::kOpen, std::memory_order_seq_cst);
  if (attachment_->dead()) child.fail(ECONNRESET);  // the daemon went while nobody knew the child
  child.tell(svm::ToDaemon::kClaim);
  return true;
}

// The daemon wakes one interested worker per connection: one that has stopped waiting must not be
// chosen, and if it was, somebody else has to hear of the connection. Under mutex_.
void Session::stop_waiting() noexcept {
  if (!listener_ || !attachment_ || attachment_->dead()) return;
  const uint64_t others = listener_->holders.load() & ~attachment_->worker_bit();
  const bool perhaps_chosen = accept_queue_.disarm(attachment_->worker_index());
  if (perhaps_chosen && others != 0 && !accept_queue_.empty()) tell(svm::ToDaemon::kAcceptPass);
}

void Session::on_unwatched() {
  const std::lock_guard lock(mutex_);
  if (state() == State::kListening && accepting_ == 0) stop_waiting();
}

void Session::on_listener_closed() {
  const std::lock_guard lock(mutex_);
  if (state() == State::kListening) fail(ECONNABORTED);
}

}  // namespace loom::vcl
