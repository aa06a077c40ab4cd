// Session: datagrams, opened and received. Each lies in a fifo behind its header (svm/datagram.h),
// whole or not at all.
#include "svm/datagram.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);

}  // namespace

svm::Endpoint DatagramIn::from() const noexcept {
  svm::Endpoint e{};
  e.is_ip4 = header.is_ip4;
  e.port = header.remote_port;
  std::memcpy(e.ip, header.remote_ip, sizeof e.ip);
  return e;
}

// --- Opening

// Whether the socket's family and address go with IPv4 at all. Under mutex_.
bool Session::reaches(const svm::Endpoint& to) const noexcept {
  if (!to.is_ip4 || socket_is_ip4) return true;
  constexpr uint8_t kAny[16] = {};
  const bool is_ip6_bound =
      bound_ && !local_.is_ip4 && std::memcmp(local_.ip, kAny, sizeof kAny) != 0;
  return !options_.v6only && !is_ip6_bound;
}

int Session::open_datagrams(const svm::Endpoint* peer) {
  if (const auto attached = worker_.attach(); !attached)
    return -errno_of(static_cast<int32_t>(attached.error().code));
  bool is_others = false;  // another thread has asked, and will say what the answer means
  {
    const std::lock_guard worker_lock(worker_.mutex());
    worker_.drain();
    const std::lock_guard lock(mutex_);
    if (peer && peer->port != 0 && !reaches(*peer)) return -ENETUNREACH;
    switch (state()) {
      case State::kConnecting:
        if (peer) return -EALREADY;
        is_others = true;
        break;
      case State::kOpen: {
        if (!peer) return 0;
        svm::PeerEvent e{};
        e.handle = handle_;
        e.context = context_ = worker_.register_context(*this);
        e.remote = *peer;
        state_.store(State::kConnecting, std::memory_order_release);
        worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kSetPeer, e);
        break;
      }
      case State::kIdle: {
        attachment_ = worker_.attachment_locked();
        if (!attachment_) return -ECONNREFUSED;
        svm::ConnectEvent e{};
        e.context = context_ = worker_.register_context(*this);
        e.proto = proto_;
        if (peer) e.remote = *peer;
        e.local = local_;
        chose_port_ = local_.port == 0;
        e.rx_fifo_size = rx_to_ask();
        e.tx_fifo_size = tx_to_ask();
        e.options = options_;
        state_.store(State::kConnecting, std::memory_order_release);
        // Who closes a session and opens the next on its port must not overtake himself.
        const uint32_t any = local_.port ? ntohs(local_.port) : context_;
        worker_.send(*attachment_, any % attachment_->n_daemon_workers(), svm::ToDaemon::kConnect,
                     e);
        break;
      }
      default:
        return error_ ? -std::exchange(error_, 0) : -ECONNRESET;
    }
  }
  const TimeNs deadline = sys::deadline_in(from_seconds(worker_.config().session_timeout));
  int outcome;
  do {
    outcome = worker_.wait(*this, kPollSettled, deadline);
  } while (outcome == -EINTR);
  if (is_others) {
    if (outcome != 0) return outcome == -EAGAIN ? -ETIMEDOUT : outcome;
    {
      const std::lock_guard lock(mutex_);
      if (state() == State::kFailed) return error_ ? -error_ : -ECONNREFUSED;
    }
    return open_datagrams(nullptr);
  }
  const std::lock_guard worker_lock(worker_.mutex());
  const std::lock_guard lock(mutex_);
  if (state() == State::kOpen) return -std::exchange(error_, 0);
  if (state() == State::kConnecting) {  // no answer in time, or no descriptors to wait with
    worker_.forget_context(context_, !shared_);
    error_ = outcome == -EAGAIN ? ETIMEDOUT : -outcome;
  }
  state_.store(shared_ ? State::kFailed : State::kIdle, std::memory_order_release);
  return -std::exchange(error_, 0);
}

// The answer to kSetPeer. Under mutex_.
void Session::on_peer_set(const svm::ConnectedEvent& e) {
  if (state() != State::kConnecting) return;
  if (e.status == 0) {
    local_ = e.local;
    remote_ = e.remote;
    hides_port_ = chose_port_ && e.remote.port == 0;
  } else {
    error_ = errno_of(e.status);
  }
  state_.store(State::kOpen, std::memory_order_release);
  take_up_links();
}

// --- Receiving

// The header of the next of `ready` bytes. False: there is none, or the session is broken. Under
// mutex_ and the process lock, as all that follow.
bool Session::next_datagram(uint32_t ready, svm::DatagramHeader& h) {
  if (ready == 0) return false;
  if (ready >= kHeader && rx_.peek(0, std::as_writable_bytes(std::span(&h, 1))) == kHeader &&
      h.length <= ready - kHeader)
    return true;
  fail(EIO);
  return false;
}

// Whether there is one behind the errors that are next. What makes no sense is, for a call to find
// out.
bool Session::has_datagram(uint32_t ready) noexcept {
  svm::DatagramHeader h;
  for (uint32_t at = 0; ready - at >= kHeader; at += kHeader + h.length) {
    if (rx_.peek(at, std::as_writable_bytes(std::span(&h, 1))) != kHeader ||
        !(h.flags & svm::kDatagramError) || h.length > ready - at - kHeader)
      return true;
  }
  return false;
}

// The errno of an error that is next in the rx fifo, or 0. The same ones right behind it are the
// same news.
int Session::datagram_error(bool take) {
  if (hears_errors_) [[unlikely]]
    collect_errors();
  for (int* pending : {&error_, &queued_error_})
    if (*pending != 0) return take ? std::exchange(*pending, 0) : *pending;
  int error = 0;
  svm::DatagramHeader h;
  while (next_datagram(rx_.available(), h) && (h.flags & svm::kDatagramError)) {
    if (error != 0 && error != h.error) break;
    error = h.error;
    if (!take) break;
    if (error == EMSGSIZE) forget_paths();
    rx_.drop(kHeader + h.length);
  }
  return error;
}

bool Session::has_error() {
  const std::lock_guard lock(mutex_);
  if (!shared_) return false;
  const ProcessLock process_lock(*shared_);
  return datagram_error(false) != 0;
}

// The next datagram in turn: of the rx fifo (`from` is nullptr) or of a link.
bool Session::find_datagram(DatagramLink*& from, svm::DatagramHeader& h) {
  from = nullptr;
  if (!can_use_links()) [[likely]]
    return next_datagram(rx_.available(), h);
  const auto n = static_cast<uint32_t>(links_.size() + 1);
  // What is sent behind an end goes by the transport: the rest of the link is older.
  for (uint32_t i = 1; i < n; ++i) {
    from = links_[i - 1].get();
    if (!from->is_ended() || !from->next(h) || !from->may_be_read(rx_)) continue;
    turn_ = i;
    return true;
  }
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t at = (turn_ + i) % n;
    from = at == 0 ? nullptr : links_[at - 1].get();
    const bool found =
        from ? from->next(h) && from->may_be_read(rx_) : next_datagram(rx_.available(), h);
    if (from && from->is_done()) links_over_ = true;
    if (!found) continue;
    turn_ = at;
    return true;
  }
  from = nullptr;
  return false;
}

// Of the next datagram, or 0. Errors that are before it become pending.
uint32_t Session::next_length() {
  svm::DatagramHeader h;
  DatagramLink* from;
  while (true) {
    if (hears_errors_) collect_errors();
    if (!find_datagram(from, h)) return 0;
    if (from || !(h.flags & svm::kDatagramError)) return h.length;
    if (hears_errors_ && (h.flags & svm::kDatagramQueued)) continue;
    if (h.error == EMSGSIZE) forget_paths();
    if (error_ == 0) error_ = h.error;
    rx_.drop(kHeader + h.length);
  }
}

bool Session::links_readable() {
  svm::DatagramHeader h;
  for (const auto& l : links_) {
    if (l->next(h)) return true;
    if (l->is_done()) links_over_ = true;
  }
  return false;
}

// True: nothing beyond what has been seen.
bool Session::arm_links() {
  bool all = true;
  for (const auto& l : links_) {
    all &= l->arm();
    if (l->is_done()) links_over_ = true;
  }
  return all;
}

// One attempt, under mutex_ and the process lock. 1, 0 at an end of file, or a negative errno. Arms
// nothing: whoever waits looks by poll(), which does. Of those behind the first, an error stays to
// be told.
ssize_t Session::take_datagram(DatagramReceive& d, int flags, bool is_first) {
  while (true) {
    if (const int error = datagram_error(is_first); error != 0) return -error;
    svm::DatagramHeader h;
    DatagramLink* from;
    if (find_datagram(from, h)) {
      if (!from && (h.flags & svm::kDatagramError)) continue;  // it came after the look for errors
      uint32_t n = 0;
      if (from) {
        if (!from->peek(h, d.to, n)) {
          links_over_ = true;
          return kLinksChanged;
        }
      } else {
        for (const iovec& v : d.to) {
          const size_t len = std::min<size_t>(v.iov_len, h.length - n);
          n += rx_.peek(kHeader + n, {static_cast<std::byte*>(v.iov_base), len});
          if (n == h.length) break;
        }
      }
      if (!(flags & MSG_PEEK)) {
        if (from) {
          from->drop(h);
          links_over_ |= from->is_done();
          link_read_ = turn_ - 1;
        } else {
          rx_.drop(kHeader + h.length);
        }
        if (!links_.empty()) turn_ = (turn_ + 1) % static_cast<uint32_t>(links_.size() + 1);
      }
      last_.time = h.time;
      last_.to = {h.is_ip4, 0, h.local_port, {}};
      std::memcpy(last_.to.ip, h.local_ip, sizeof h.local_ip);
      d.in = {h, n < h.length};
      d.n = flags & MSG_TRUNC ? h.length : n;
      return 1;
    }
    if (!is_first) return -EAGAIN;
    if (rx_.violation()) fail(EIO);
    if (state() == State::kFailed) return cannot_receive();
    const ssize_t end = end_of_stream();
    if (end != -EAGAIN || rx_.refresh() == 0) return end;
  }
}

// How many there are; 0 at an end of file. Under mutex_.
ssize_t Session::take_datagrams(std::span<DatagramReceive> all, int flags) {
  if (!shared_) return cannot_receive();
  const ProcessLock process_lock(*shared_);
  if (links_changed()) [[unlikely]]
    return kLinksChanged;
  become_owner();
  size_t n = 0;
  ssize_t outcome = 0;
  while (n < all.size() && (outcome = take_datagram(all[n], flags, n == 0)) == 1) ++n;
  return n != 0 ? static_cast<ssize_t>(n) : outcome;
}

int Session::receive_datagrams(std::span<DatagramReceive> all, int flags) {
  TimeNs deadline = 0;
  while (true) {
    ssize_t n;
    bool is_over;
    {
      const std::lock_guard lock(mutex_);
      n = take_datagrams(all, flags);
      is_over = links_over_;
    }
    if (n == kLinksChanged || is_over) [[unlikely]]
      settle_links();
    if (n == kLinksChanged) continue;
    if (n != -EAGAIN || (flags & MSG_DONTWAIT) || nonblocking()) return static_cast<int>(n);
    if (deadline == 0) deadline = sys::deadline_in(rcv_timeout.load(std::memory_order_relaxed));
    if (const int e = worker_.wait(*this, POLLIN, deadline); e != 0) return e;
  }
}

ssize_t Session::receive_datagram(std::span<const iovec> to, int flags, DatagramIn* in) {
  DatagramReceive d{to};
  const int n = receive_datagrams({&d, 1}, flags);
  if (n <= 0) return n;
  if (in) *in = d.in;
  return d.n;
}

}  // namespace loom::vcl
