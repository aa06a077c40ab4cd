#include "vcl/session.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kMost = 1u << 30;  // of a fifo

// A fifo that holds nothing would be full and empty at once.
bool has_sizes(const svm::SessionLine& line) noexcept {
  return line.rx_size - 1 < kMost && line.tx_size - 1 < kMost;
}

}  // namespace

int errno_of(int32_t status) noexcept {
  switch (static_cast<Status>(status)) {
    case Status::kOk:
      return 0;
    case Status::kInvalid:
    case Status::kMalformed:
      return EINVAL;
    case Status::kNotFound:
      return EADDRNOTAVAIL;
    case Status::kExists:
    case Status::kInUse:
      return EADDRINUSE;
    case Status::kNoMemory:
      return ENOBUFS;
    case Status::kAgain:
      return EAGAIN;
    case Status::kInProgress:
      return EINPROGRESS;
    case Status::kNotConnected:
      return ENOTCONN;
    case Status::kReset:
      return ECONNRESET;
    case Status::kRefused:
      return ECONNREFUSED;
    case Status::kTimedOut:
      return ETIMEDOUT;
    case Status::kUnreachable:  // no route: what ICMP says comes as an errno
      return ENETUNREACH;
    case Status::kUnsupported:
      return EPROTONOSUPPORT;
    case Status::kPermission:
      return EACCES;
    case Status::kClosed:
      return EPIPE;
    case Status::kIo:
      return EIO;
  }
  return EIO;
}

void Session::init(uint8_t proto, bool is_ip4, bool nonblocking) {
  proto_ = proto;
  socket_is_ip4 = is_ip4;
  state_.store(State::kIdle, std::memory_order_relaxed);
  set_nonblocking(nonblocking);
  bound_ = shut_rd_ = shut_wr_ = error_taken_ = abort_ = connect_reported_ = false;
  reuse_addr = broadcast = false;
  error_ = 0;
  handle_ = cookie = 0;
  accepting_ = 0;
  context_ = 0;
  questions_.clear();
  groups_later_.clear();
  ip4_group_hops.store(1, std::memory_order_relaxed);
  ip6_group_hops.store(1, std::memory_order_relaxed);
  paths_.fill({});
  everywhere_ = 0;
  ways_.reset();
  errors_.clear();
  errors_seen_ = 0;
  queued_error_ = 0;
  hears_errors_ = false;
  listener_index_ = ~0u;
  n_accepted_ = 0;
  shared_ = nullptr;
  listener_ = nullptr;
  rx_ = {};
  tx_ = {};
  cut_ = {};
  links_.clear();
  link_table_ = nullptr;
  links_done_.clear();
  links_seen_ = links_let_go_ = turn_ = link_read_ = 0;
  links_over_ = false;
  local_ = remote_ = {};
  local_.is_ip4 = remote_.is_ip4 = is_ip4;
  options_ = {};
  options_.linger_s = -1;
  settings = {};
  rx_size = tx_size = 0;
  ttl = ip6_hop_limit = 0;
  gso_size.store(0, std::memory_order_relaxed);
  no_check6_tx.store(false, std::memory_order_relaxed);
  ancillary.store(0, std::memory_order_relaxed);
  arrival.store(0, std::memory_order_relaxed);
  stamping.store(0, std::memory_order_relaxed);
  last_ = {};
  chose_port_ = hides_port_ = false;
  rcv_lowat.store(1, std::memory_order_relaxed);
  rcv_timeout.store(-1, std::memory_order_relaxed);
  snd_timeout.store(-1, std::memory_order_relaxed);
  refs_.store(1, std::memory_order_release);
}

uint32_t Session::daemon_worker() const noexcept {
  if (shared_) {
    const uint32_t worker = shared_->worker.load(std::memory_order_acquire);
    if (worker < attachment_->n_daemon_workers()) return worker;
  }
  return attachment_->daemon_worker_of(handle_);
}

void Session::tell(svm::ToDaemon type) noexcept {
  if (cut_.pair) {
    switch (type) {
      case svm::ToDaemon::kTx:
      case svm::ToDaemon::kRxSpace:
        return ring_peer();
      case svm::ToDaemon::kShutdown: {
        const ProcessLock process_lock(*shared_);
        tx_.set_eof();
        (void)tx_.should_notify();
        return ring_peer();
      }
      default:
        break;  // opening and closing are the daemon's
    }
  }
  const svm::SessionEvent e{handle_, 0};
  worker_.send(*attachment_, daemon_worker(), type, e);
}

// The other end looks at the session. Its owner is read behind the fence of should_notify.
void Session::ring_peer() noexcept {
  if (cut_.pair->ring(*cut_.bell, 1 - cut_.end, cut_.peer->owner.load(std::memory_order_relaxed),
                      cut_.bit)) [[likely]]
    return;
  const svm::SessionEvent e{handle_, 0};  // the daemon can
  worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kTx, e);
}

// Of a cut-through session the peer may write the fifo's error: any number becomes an errno.
int Session::lost() const noexcept {
  const auto errno_in = [](uint32_t n) {
    constexpr uint32_t kMaxErrno = 4095;
    return n != 0 && n <= kMaxErrno ? static_cast<int>(n) : ECONNRESET;
  };
  if (rx_.reset()) return errno_in(static_cast<uint32_t>(rx_.error()));
  if (!cut_.pair) [[likely]]
    return 0;
  const uint32_t how = shared_->peer_end.load(std::memory_order_acquire);
  return how & svm::kPeerReset ? errno_in(how & 0xffff) : 0;
}

// By this process, or by one that shares the cut-through session.
bool Session::is_sending_shut() const noexcept { return shut_wr_ || (cut_.pair && tx_.has_eof()); }

// Seen by the daemon, and by a cut-through peer.
void Session::set_owner(uint32_t worker) noexcept {
  shared_->owner.store(worker, std::memory_order_seq_cst);
  if (cut_.pair) cut_.own->owner.store(worker, std::memory_order_seq_cst);
  if (can_use_links())
    for (const auto& l : links_) l->set_owner(worker);
}

bool Session::peer_closed() const noexcept {
  return cut_.pair && (shared_->peer_end.load(std::memory_order_acquire) & svm::kPeerClosed) != 0;
}

void Session::send_options() noexcept {
  if (state() != State::kOpen) return;
  const uint32_t number = shared_->n_options.fetch_add(1, std::memory_order_relaxed) + 1;
  const svm::OptionEvent e{handle_, options_, number};
  worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kSetOption, e);
}

// The session's events come to this worker from now on.
void Session::become_owner() noexcept {
  const uint32_t self = attachment_->worker_index();
  if (shared_->owner.load(std::memory_order_relaxed) == self) [[likely]]
    return;
  set_owner(self);
  tell(svm::ToDaemon::kClaim);
}

void Session::fail(int error) noexcept {
  error_ = error;
  state_.store(State::kFailed, std::memory_order_release);
}

// --- Opening

int Session::bind(const svm::Endpoint& local) {
  const std::lock_guard lock(mutex_);
  if (state() != State::kIdle || bound_) return -EINVAL;
  local_ = local;
  bound_ = true;
  return 0;
}

// What the daemon is told of `settings` for one listen or connect; 0: nothing. A negative errno:
// it refuses, or has gone.
int64_t Session::send_settings() {
  if (settings.empty()) return 0;
  const auto number = attachment_->add_settings(settings, true);
  if (number) return *number;
  return number.error().code == Status::kIo || number.error().code == Status::kClosed
             ? -ECONNREFUSED
             : -errno_of(static_cast<int32_t>(number.error().code));
}

int Session::connect(const svm::Endpoint& remote) {
  if (is_connectionless()) return open_datagrams(&remote);
  if (const auto attached = worker_.attach(); !attached)
    return -errno_of(static_cast<int32_t>(attached.error().code));
  {
    const std::lock_guard worker_lock(worker_.mutex());
    worker_.drain();
    const std::lock_guard lock(mutex_);
    switch (state()) {
      case State::kConnecting:
        if (nonblocking()) return -EALREADY;
        break;  // wait for the attempt that is under way
      case State::kOpen:
        return std::exchange(connect_reported_, true) ? -EISCONN : 0;
      case State::kBinding:
      case State::kListening:
        return -EISCONN;
      case State::kFailed:
        if (shared_) return -EISCONN;
        state_.store(State::kIdle, std::memory_order_release);
        if (error_) return -std::exchange(error_, 0);
        [[fallthrough]];
      case State::kIdle: {
        attachment_ = worker_.attachment_locked();
        if (!attachment_) return -ECONNREFUSED;
        const int64_t number = send_settings();
        if (number < 0) return static_cast<int>(number);
        remote_ = remote;
        svm::ConnectEvent e{};
        e.context = context_ = worker_.register_context(*this);
        e.proto = proto_;
        e.remote = remote;
        e.local = local_;
        if (!bound_)
          e.local = svm::Endpoint{.is_ip4 = remote.is_ip4, .reserved = 0, .port = 0, .ip = {}};
        e.rx_fifo_size = rx_to_ask();
        e.tx_fifo_size = tx_to_ask();
        e.options = options_;
        e.options.settings = static_cast<uint32_t>(number);
        connect_reported_ = false;
        state_.store(State::kConnecting, std::memory_order_release);
        worker_.send(*attachment_, context_ % attachment_->n_daemon_workers(),
                     svm::ToDaemon::kConnect, e);
        if (nonblocking()) return -EINPROGRESS;
      }
    }
  }
  const int outcome = worker_.wait(*this, kPollSettled, sys::deadline_in(snd_timeout.load()));
  if (outcome != 0) return outcome == -EAGAIN ? -EINPROGRESS : outcome;
  const std::lock_guard lock(mutex_);
  if (state() == State::kOpen) {
    connect_reported_ = true;
    return 0;
  }
  state_.store(State::kIdle, std::memory_order_release);
  return -std::exchange(error_, 0);
}

void Session::on_connected(const svm::ConnectedEvent& e) {
  const std::lock_guard lock(mutex_);
  if (shared_) return on_peer_set(e);
  if (e.status != 0 || !adopt(e.session, e.handle, e.cut_through)) {
    if (e.status == 0) {  // it is open, and we cannot have it: no descriptors, say
      handle_ = e.handle;
      tell(svm::ToDaemon::kReset);
      handle_ = 0;
    }
    // Of connect() Linux calls it so when the port, or every port, has that peer already.
    const bool lacks_port = !is_datagram() && e.status == static_cast<int32_t>(Status::kInUse);
    fail(lacks_port ? EADDRNOTAVAIL : e.status ? errno_of(e.status) : EIO);
    return;
  }
  local_ = e.local;
  remote_ = e.remote;
  everywhere_ = e.everywhere;
  worker_.register_handle(handle_, *this);
  state_.store(State::kOpen, std::memory_order_release);
  take_up_links();
}

// Enters an established session. False: the reference leads nowhere.
bool Session::adopt(svm::Ref ref, uint64_t handle, svm::CutThrough which) {
  if (which != svm::CutThrough::kNo) {
    handle_ = handle;
    return adopt_cut_through(ref, which == svm::CutThrough::kEnd1);
  }
  auto* s = attachment_->table().resolve_as<svm::SessionShared>(ref);
  if (!s || !has_sizes(*s)) return false;
  handle_ = handle;
  shared_ = s;
  s->holders.fetch_or(attachment_->worker_bit());
  s->owner.store(attachment_->worker_index());
  // Another process may ask for a larger one, of which this one hears nothing.
  const uint32_t most = is_connectionless() ? kMost : s->rx_size;
  rx_ = svm::AppFifoConsumer(s->rx(), attachment_->table(), most);
  tx_ = svm::AppFifoProducer(s->tx(), attachment_->arena(), s->tx_size);
  return true;
}

// The same between two applications. Under the worker's mutex.
bool Session::adopt_cut_through(svm::Ref ref, uint32_t end) {
  auto* own = attachment_->table().resolve_as<svm::SessionLine>(ref);
  if (!own) return false;
  svm::SessionLine& line = *own;
  if (!has_sizes(line)) return false;
  auto pair = worker_.cut_through_pair(*attachment_, svm::ref_segment(line.block));
  auto* s = pair ? pair->table().resolve_as<svm::CutThroughShared>(line.block) : nullptr;
  if (!s) return false;
  const svm::Ref bell_ref = line.bell;
  const uint32_t bit = line.bell_bit;
  auto* bell = pair->table().resolve_as<svm::BellShared>(bell_ref);
  if (!bell || !pair->enter(bell_ref, end, bit, *this, worker_.bells_fd())) return false;
  shared_ = &line;
  cut_.pair = std::move(pair);
  cut_.bell = bell;
  cut_.own = &s->ends[end];
  cut_.peer = &s->ends[1 - end];
  cut_.bell_ref = bell_ref;
  cut_.bit = bit;
  cut_.end = end;
  line.holders.fetch_or(attachment_->worker_bit());
  set_owner(attachment_->worker_index());
  rx_ = svm::AppFifoConsumer(s->fifos[1 - end], cut_.pair->table(), line.rx_size);
  tx_ = svm::AppFifoProducer(s->fifos[end], cut_.pair->arena(), line.tx_size);
  return true;
}

// --- Closing

int Session::shutdown(int how) {
  const std::lock_guard worker_lock(worker_.mutex());
  {
    const std::lock_guard lock(mutex_);
    if (state() == State::kListening) {
      if (how == SHUT_WR) return 0;
      let_go();
      listener_ = nullptr;
      state_.store(State::kIdle, std::memory_order_release);
    } else if (!shared_) {
      return -ENOTCONN;
    } else {
      if (how != SHUT_WR) shut_rd_ = true;
      if (how != SHUT_RD && !std::exchange(shut_wr_, true)) tell(svm::ToDaemon::kShutdown);
    }
  }
  notify();
  return 0;
}

void Session::abort_on_close() {
  const std::lock_guard lock(mutex_);
  abort_ = true;
}

void Session::linger() {
  {
    const std::lock_guard lock(mutex_);
    if (state() != State::kOpen || options_.linger_s <= 0 || is_connectionless()) return;
    if (!shut_wr_) tell(svm::ToDaemon::kShutdown);
    shut_wr_ = true;
  }
  const TimeNs deadline = sys::deadline_in(options_.linger_s * kSecond);
  while (worker_.wait(*this, kPollDrained, deadline) == -EINTR) {}
}

// The session's events go to one of the other holders from now on. False: there is none, or they do
// so already. Under the process lock, as a holder yet: the others let go of links, and the last one
// ends it all, whose memory is somebody else's then.
bool Session::hand_on() noexcept {
  uint32_t self = attachment_->worker_index();
  const uint64_t others = shared_->holders.load() & ~attachment_->worker_bit();
  const auto next = static_cast<uint32_t>(std::countr_zero(others));
  if (others == 0 || !shared_->owner.compare_exchange_strong(self, next)) return false;
  if (cut_.pair) cut_.own->owner.store(next);
  if (can_use_links())
    for (const auto& l : links_) l->set_owner(next);
  return true;
}

// Takes this worker out of the holders; the last one ends the session or the listener. Under both
// mutexes.
void Session::let_go() {
  if (!attachment_) return;
  if (context_ && (state() == State::kConnecting || state() == State::kBinding))
    worker_.forget_context(context_, !shared_);
  for (const Question& q : questions_) worker_.forget_context(q.context, false);
  if (handle_) worker_.forget_handle(handle_, *this);
  if (cut_.pair) cut_.pair->leave(cut_.bell_ref, cut_.end, cut_.bit, *this);
  for (const auto& l : links_) l->leave(*this);
  if (attachment_->dead()) return;
  const uint64_t bit = attachment_->worker_bit();
  if (listener_) {
    stop_waiting();
    if ((listener_->holders.fetch_and(~bit) & ~bit) == 0) tell(svm::ToDaemon::kUnlisten);
  } else if (shared_) {
    uint64_t others;
    bool is_handed_on;
    {
      const ProcessLock process_lock(*shared_, ProcessLock::ToLetGo{});
      is_handed_on = hand_on();
      others = shared_->holders.fetch_and(~bit) & ~bit;
    }
    if (others == 0) {
      // What is on its way without a connection is sent in any case.
      const bool is_hard = options_.linger_s == 0 && !is_connectionless();
      tell(abort_ || is_hard ? svm::ToDaemon::kReset : svm::ToDaemon::kClose);
    } else if (is_handed_on) {
      tell(svm::ToDaemon::kClaim);
    }
  }
}

void Session::retire() {
  linger();
  // Goes last, when no lock is held: who hears of it finds what was opened there gone.
  const std::shared_ptr<BoundEnd> bound_end = std::move(bound_end_);
  {
    const std::lock_guard worker_lock(worker_.mutex());
    const std::lock_guard lock(mutex_);
    dismiss_watches();
    let_go();
    shared_ = nullptr;
    listener_ = nullptr;
    state_.store(State::kIdle, std::memory_order_release);
    ListNode<SessionTag>::unlink();
    if (std::exchange(cut_.pair, nullptr) || !links_.empty()) {
      links_.clear();
      worker_.drop_unused_pairs();
    }
  }
  end_cork();
  attachment_.reset();
  worker_.sessions().put(this);
}

void Session::on_daemon_gone() {
  {
    const std::lock_guard lock(mutex_);
    const State s = state();
    if (s != State::kIdle && s != State::kFailed)
      fail(s == State::kConnecting || s == State::kBinding ? ECONNREFUSED : ECONNRESET);
  }
  notify();
}

void Session::add_holder(uint64_t bit) noexcept {
  if (shared_) shared_->holders.fetch_or(bit);
  if (listener_) listener_->holders.fetch_or(bit);
}
void Session::after_fork() noexcept {
  new (&mutex_) std::mutex;
  cork_after_fork();
  dismiss_thread_watches();
  accepting_ = 0;
  questions_.clear();  // the parent's threads have asked them
  if (state() == State::kConnecting || state() == State::kBinding) {
    context_ = 0;
    if (shared_)  // only its peer was to change
      state_.store(State::kOpen, std::memory_order_release);
    else
      fail(ECONNABORTED);
  }
}

void Session::drop_holder(uint64_t bit) noexcept {
  if (shared_) shared_->holders.fetch_and(~bit);
  if (listener_) listener_->holders.fetch_and(~bit);
}

}  // namespace loom::vcl
