// Session: reading and writing. Bytes go straight between the caller's buffers and the fifo; no
// system call while there is data, or room.
#include <algorithm>
#include <array>
#include <cerrno>

#include <hostloom/check.h>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr size_t kMaxTransfer = INT32_MAX & ~size_t{4095};  // as the kernel's MAX_RW_COUNT

size_t total_of(std::span<const iovec> v) noexcept {
  size_t n = 0;
  for (const iovec& e : v) n += std::min(e.iov_len, kMaxTransfer - n);
  return n;
}

// What is left of `v` behind its first `skip` bytes, in the first slots of `out`; slots filled.
template <class View>
size_t views_of(std::span<const iovec> v, size_t skip, std::span<View> out) noexcept {
  size_t n = 0, budget = kMaxTransfer;
  for (const iovec& e : v) {
    if (skip >= e.iov_len) {
      skip -= e.iov_len;
      continue;
    }
    if (n == out.size() || budget == 0) break;
    const size_t len = std::min(e.iov_len - skip, budget);
    out[n++] = View(static_cast<std::byte*>(e.iov_base) + skip, len);
    budget -= len;
    skip = 0;
  }
  return n;
}

}  // namespace

// --- Receiving

// Why a session without fifos gives nothing.
ssize_t Session::cannot_receive() {
  switch (state()) {
    case State::kConnecting:
      return -EAGAIN;
    case State::kFailed:
      return error_ ? -std::exchange(error_, 0) : 0;
    default:
      return -ENOTCONN;
  }
}

// The rx fifo is empty: 0 or an error when it stays so, -EAGAIN when bytes may come.
ssize_t Session::end_of_stream() {
  if (state() == State::kFailed) return error_ ? -std::exchange(error_, 0) : 0;
  if (const int gone = lost(); gone != 0) {
    if (rx_.refresh() != 0) return -EAGAIN;  // came before the reset
    return std::exchange(error_taken_, true) ? 0 : -gone;
  }
  if (peer_closed()) return rx_.refresh() != 0 ? -EAGAIN : 0;
  return rx_.eof() || shut_rd_ ? 0 : -EAGAIN;
}

// One attempt. Arms nothing: whoever waits looks by poll(), which does. discard: the bytes are
// dropped, not copied (MSG_TRUNC of TCP). Under mutex_.
ssize_t Session::take(std::span<const iovec> to, bool peek, bool discard) {
  if (!shared_) return cannot_receive();
  const size_t wanted = total_of(to);
  if (wanted == 0) return 0;
  const ProcessLock process_lock(*shared_);
  become_owner();
  while (true) {
    uint32_t ready = rx_.cached_available();
    if (ready < wanted) ready = rx_.refresh();
    if (rx_.violation()) [[unlikely]] {
      fail(EIO);
      return cannot_receive();
    }
    if (ready != 0) {
      uint32_t n = 0;
      if (discard) {
        n = static_cast<uint32_t>(std::min<size_t>(ready, wanted));
      } else {
        for (const iovec& v : to) {
          const size_t len = std::min<size_t>(v.iov_len, ready - n);
          n += rx_.peek(n, {static_cast<std::byte*>(v.iov_base), len});
          if (n == ready) break;
        }
        if (n == 0 && rx_.violation()) [[unlikely]]
          continue;
      }
      if (!peek) {
        rx_.drop(n);
        if (rx_.should_notify()) tell(svm::ToDaemon::kRxSpace);
      }
      return n;
    }
    const ssize_t end = end_of_stream();
    if (end != -EAGAIN || rx_.refresh() == 0) return end;
  }
}

ssize_t Session::receive(std::span<const iovec> to, int flags) {
  if (is_datagram()) return receive_datagram(to, flags, nullptr);
  const bool peek = flags & MSG_PEEK, discard = flags & MSG_TRUNC;
  const bool may_wait = !(flags & MSG_DONTWAIT) && !nonblocking();
  const bool all = (flags & MSG_WAITALL) && may_wait;
  const size_t wanted = all ? total_of(to) : 0;
  size_t done = 0;
  TimeNs deadline = 0;
  while (true) {
    ssize_t n;
    {
      const std::lock_guard lock(mutex_);
      if (done == 0) [[likely]] {
        n = take(to, peek, discard);
      } else {
        iovec rest[16];
        svm::MutableByteView views[16];
        const size_t count = views_of<svm::MutableByteView>(to, peek ? 0 : done, views);
        for (size_t i = 0; i < count; ++i) rest[i] = {views[i].data(), views[i].size()};
        n = take({rest, count}, peek, discard);
      }
    }
    if (n > 0) {
      done = peek ? static_cast<size_t>(n) : done + static_cast<size_t>(n);
      if (!all || done >= wanted) return static_cast<ssize_t>(done);
    } else if (n != -EAGAIN || !may_wait) {
      return done ? static_cast<ssize_t>(done) : n;
    }
    if (deadline == 0) deadline = sys::deadline_in(rcv_timeout.load(std::memory_order_relaxed));
    // MSG_PEEK | MSG_WAITALL: what has been seen is still there; wait for more than that.
    const int e = peek && done ? worker_.wait_beyond(*this, static_cast<uint32_t>(done), deadline)
                               : worker_.wait(*this, POLLIN, deadline);
    if (e != 0) return done ? static_cast<ssize_t>(done) : e;
    if (peek && done && unread() <= done) return static_cast<ssize_t>(done);  // no more will come
  }
}

ssize_t Session::read_views(std::span<svm::ByteView> views, uint32_t max_bytes, uint32_t& n_views) {
  n_views = 0;
  TimeNs deadline = 0;
  while (true) {
    ssize_t n;
    {
      const std::lock_guard lock(mutex_);
      if (!shared_) {
        n = cannot_receive();
      } else {
        const ProcessLock process_lock(*shared_);
        become_owner();
        if (rx_.available() < max_bytes) rx_.refresh();
        n_views = rx_.segments(0, max_bytes, views);
        if (rx_.violation()) [[unlikely]]
          fail(EIO);
        n = 0;
        for (uint32_t i = 0; i < n_views; ++i) n += static_cast<ssize_t>(views[i].size());
        if (n == 0) n = end_of_stream();
      }
    }
    if (n != -EAGAIN || nonblocking()) return n;
    if (deadline == 0) deadline = sys::deadline_in(rcv_timeout.load());
    if (const int e = worker_.wait(*this, POLLIN, deadline); e != 0) return e;
  }
}

void Session::release(uint32_t n_bytes) {
  const std::lock_guard lock(mutex_);
  if (!shared_) return;
  const ProcessLock process_lock(*shared_);
  rx_.drop(std::min(n_bytes, rx_.cached_available()));
  if (rx_.should_notify()) tell(svm::ToDaemon::kRxSpace);
}

uint32_t Session::unread() {
  settle_links();
  const std::lock_guard lock(mutex_);
  if (!shared_) return 0;
  const ProcessLock process_lock(*shared_);
  const uint32_t ready = rx_.refresh();
  return is_datagram() ? next_length() : ready;
}

// --- Sending

// 0 when the session takes bytes, or why not. Under mutex_.
int Session::cannot_send() {
  if (state() == State::kConnecting) return -EAGAIN;
  if (state() == State::kFailed) return error_ ? -std::exchange(error_, 0) : -EPIPE;
  if (!shared_) return -EPIPE;
  if (const int gone = lost(); gone != 0) return std::exchange(error_taken_, true) ? -EPIPE : -gone;
  return is_sending_shut() || (cut_.wrote_in_vain && peer_closed()) ? -EPIPE : 0;
}

// The arena is used up: asks the daemon for another segment, under a bound of the daemon's.
bool Session::more_memory() noexcept {
  return cut_.pair ? cut_.pair->more_memory() : attachment_->add_app_arena();
}

// The other end has closed: TCP would send these bytes, and get a reset for them.
ssize_t Session::put_in_vain(size_t n) noexcept {
  cut_.wrote_in_vain = true;
  return static_cast<ssize_t>(n);
}

// Says, before the bytes themselves, whether those behind them may wait (MSG_MORE).
inline void Session::set_more(bool more) noexcept {
  if (more) [[unlikely]]
    tx_.begin_more();
  else if (tx_.more()) [[unlikely]]
    tx_.end_more();
}

// Nothing is written that could announce it, so it is said in any case. Under mutex_ and the
// process lock.
void Session::push_locked() noexcept {
  if (!tx_.more()) [[likely]]
    return;
  tx_.end_more();
  tell(svm::ToDaemon::kTx);
}

void Session::push() {
  const std::lock_guard lock(mutex_);
  if (state() != State::kOpen) return;
  const ProcessLock process_lock(*shared_);
  push_locked();
}

// One attempt. Under mutex_.
ssize_t Session::put(std::span<const iovec> from, bool more) {
  if (const int e = cannot_send(); e != 0) return e;
  const size_t wanted = total_of(from);
  if (wanted == 0) return 0;
  if (peer_closed()) [[unlikely]]
    return put_in_vain(wanted);
  const ProcessLock process_lock(*shared_);
  return put_locked(from, wanted, more);
}

// With the process lock as well.
ssize_t Session::put_locked(std::span<const iovec> from, size_t wanted, bool more) {
  LOOM_DCHECK(!is_datagram());
  become_owner();
  set_more(more);
  size_t done = 0;
  while (done < wanted) {
    uint32_t room = tx_.space();
    if (room < wanted - done) room = tx_.refresh();
    if (tx_.violation()) [[unlikely]] {
      fail(EIO);
      return cannot_send();
    }
    if (room == 0) {
      push_locked();  // the fifo is full: waiting would not make the segment any fuller
      // Also after a part: whoever watches edges may wait for the next one without another attempt.
      if (tx_.want_space(std::max(1u, writable_at()))) {
        if (done == 0) return -EAGAIN;
        break;
      }
      set_more(more);
      continue;
    }
    svm::ByteView parts[16];
    const size_t count = views_of<svm::ByteView>(from, done, parts);
    const uint32_t n = tx_.enqueue({parts, count});
    if (tx_.violation()) [[unlikely]] {
      fail(EIO);
      return cannot_send();
    }
    done += n;
    if (n == 0 && !more_memory()) {
      if (done == 0) return -ENOBUFS;
      break;
    }
  }
  if (tx_.should_notify()) tell(svm::ToDaemon::kTx);
  return static_cast<ssize_t>(done);
}

// Between two attempts to send: 0 to try again, or what to return.
int Session::wait_writable(int flags, TimeNs& deadline, bool& has_deadline) {
  if ((flags & MSG_DONTWAIT) || nonblocking()) return -EAGAIN;
  if (!std::exchange(has_deadline, true))
    deadline = sys::deadline_in(snd_timeout.load(std::memory_order_relaxed));
  return worker_.wait(*this, POLLOUT, deadline);
}

ssize_t Session::send(std::span<const iovec> from, int flags) {
  if (is_datagram()) return send_datagram(from, flags, {});
  TimeNs deadline = 0;
  bool has_deadline = false;
  ssize_t n;
  {
    const std::lock_guard lock(mutex_);
    n = put(from, flags & MSG_MORE);
  }
  const size_t wanted = total_of(from);
  if (n >= 0 && (static_cast<size_t>(n) == wanted || (flags & MSG_DONTWAIT) || nonblocking()))
      [[likely]]
    return n;
  // A blocking write ends when everything is written.
  size_t done = n > 0 ? static_cast<size_t>(n) : 0;
  while (n >= 0 || n == -EAGAIN) {
    if (const int e = wait_writable(flags, deadline, has_deadline); e != 0) {
      n = e;
      break;
    }
    iovec rest[16];
    svm::ByteView views[16];
    const size_t count = views_of<svm::ByteView>(from, done, views);
    for (size_t i = 0; i < count; ++i)
      rest[i] = {const_cast<std::byte*>(views[i].data()), views[i].size()};
    const std::lock_guard lock(mutex_);
    n = put({rest, count}, flags & MSG_MORE);
    if (n > 0) done += static_cast<size_t>(n);
    if (done >= wanted) break;
  }
  return done ? static_cast<ssize_t>(done) : n;
}

ssize_t Session::send_all_or_nothing(std::span<const iovec> from) {
  const size_t wanted = total_of(from);
  TimeNs deadline = 0;
  bool has_deadline = false;
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (const int e = cannot_send(); e != 0 && e != -EAGAIN) return e;
      if (shared_) {
        if (wanted > tx_.size()) return -EINVAL;
        if (wanted == 0) return 0;
        if (peer_closed()) return put_in_vain(wanted);
        const ProcessLock process_lock(*shared_);
        const bool fits = tx_.refresh() >= wanted;
        if (fits || !tx_.want_space(static_cast<uint32_t>(wanted))) {
          const ssize_t n = put_locked(from, wanted, false);
          if (n < 0 || static_cast<size_t>(n) == wanted) return n;
          return -ENOBUFS;  // the arena is used up in the middle; the session is of no more use
        }
      }
    }
    if (nonblocking()) return -EAGAIN;
    if (!std::exchange(has_deadline, true))
      deadline = sys::deadline_in(snd_timeout.load(std::memory_order_relaxed));
    const int e = state() == State::kConnecting
                      ? worker_.wait(*this, POLLOUT, deadline)
                      : worker_.wait_room(*this, static_cast<uint32_t>(wanted), deadline);
    if (e != 0) return e;
  }
}

// Under mutex_ and the process lock. 0, or as put(). commit_tx follows a success.
int Session::reserve_tx(uint32_t n, std::span<svm::MutableByteView> out, uint32_t& views) {
  LOOM_DCHECK(!is_datagram());
  become_owner();
  cut_.vain_views = peer_closed();
  if (cut_.vain_views) {                          // TCP would take the first ones
    static std::array<std::byte, 16384> nowhere;  // of all threads: nobody reads it
    out[0] = svm::MutableByteView(nowhere).first(std::min<size_t>(n, nowhere.size()));
    views = 1;
    return 0;
  }
  while (true) {
    uint32_t room = tx_.space();
    if (room < n) room = tx_.refresh();
    if (tx_.violation()) [[unlikely]] {
      fail(EIO);
      return cannot_send();
    }
    if (room != 0) {
      views = tx_.reserve(std::min(n, room), out);
      if (views != 0) return 0;
      if (!tx_.violation() && !more_memory()) return -ENOBUFS;
    } else {
      push_locked();
      if (tx_.want_space(std::max(1u, writable_at()))) return -EAGAIN;
    }
  }
}

void Session::commit_tx(uint32_t n, bool more) {
  if (cut_.vain_views) {
    (void)put_in_vain(n);
    return;
  }
  set_more(more);
  tx_.commit(n);
  if (tx_.should_notify()) tell(svm::ToDaemon::kTx);
}

uint32_t Session::unsent() {
  const std::lock_guard lock(mutex_);
  if (!shared_ || cut_.pair) return 0;  // a local peer acknowledges at once
  const ProcessLock process_lock(*shared_);
  tx_.refresh();
  return tx_.used();
}

uint32_t Session::free_space() {
  const std::lock_guard lock(mutex_);
  if (!shared_ || shut_wr_) return 0;
  const ProcessLock process_lock(*shared_);
  return tx_.refresh();
}

}  // namespace loom::vcl
