#include "vcl/datagram_cork.h"

#include <cerrno>
#include <new>
#include <utility>

#include "svm/datagram.h"

namespace loom::vcl {

void Session::CorkDeleter::operator()(DatagramCork* c) const noexcept { delete c; }

// Under the cork's mutex.
void Session::note_cork(const DatagramCork& c) noexcept {
  holds_back.store(c.is_on || c.is_pending, std::memory_order_relaxed);
}

// nullptr: no memory.
DatagramCork* Session::the_cork() noexcept {
  const std::lock_guard lock(mutex_);
  if (!cork_) cork_.reset(new (std::nothrow) DatagramCork);
  return cork_.get();
}

// Sends what there is, with the cork's lock held until it is its own. 0, or a negative errno.
int Session::send_pending(DatagramCork& c, std::unique_lock<std::mutex>& lock, int flags) {
  const std::vector<char> bytes = std::move(c.bytes);
  const svm::Endpoint to = c.to, source = c.source;
  const iovec v{const_cast<char*>(bytes.data()), bytes.size()};
  DatagramSend whole{{&v, 1}, c.out};
  if (c.has_to) whole.out.to = &to;
  if (c.has_source) whole.out.source = &source;
  c.drop();
  note_cork(c);
  lock.unlock();
  const int n = send_whole({&whole, 1}, flags);
  return n < 0 ? n : 0;
}

// One call's. 0, or a negative errno.
int Session::add_to_cork(DatagramSend& d, int flags) {
  DatagramCork* const cork = the_cork();
  if (!cork) return -ENOBUFS;
  DatagramCork& c = *cork;
  std::unique_lock lock(c.mutex);
  const bool is_last = !(flags & MSG_MORE) && !c.is_on;
  if (flags & MSG_OOB) return -EOPNOTSUPP;
  const PathRules rules = path_rules();
  if (!c.is_pending) {
    if (!d.out.to && rules.peer.port == 0) return -EDESTADDRREQ;
    if (d.out.to && d.out.to->port == 0) return -EINVAL;
    if (const int e = find_way(d.out); e != 0) return e;  // as Linux's first call finds its route
    c.begin(d.out);
  } else if (const svm::Endpoint& first = c.has_to ? c.to : rules.peer;
             d.out.to && d.out.to->is_ip4 && !first.is_ip4) {
    return -EINVAL;
  }
  const auto fail = [&](int e) {
    c.drop();
    note_cork(c);
    return e;
  };
  size_t length = 0;
  try {
    for (const iovec& v : d.from) {
      if (v.iov_len > kMaxDatagramBytes - c.bytes.size()) return fail(-EMSGSIZE);
      const char* const from = static_cast<const char*>(v.iov_base);
      c.bytes.insert(c.bytes.end(), from, from + v.iov_len);
      length += v.iov_len;
    }
  } catch (const std::bad_alloc&) {
    return fail(-ENOBUFS);
  }
  const iovec v{c.bytes.data(), c.bytes.size()};
  DatagramSend all{{&v, 1}, c.out};
  all.out.to = c.has_to ? &c.to : nullptr;
  uint32_t mtu = 0;
  if (const int e = cannot_leave(all, 0, rules, mtu); e != 0) {
    if (mtu != 0 && hears_errors_) add_local_error(c.has_to ? c.to : rules.peer, mtu);
    return fail(e);
  }
  c.out.gso_size = all.out.gso_size;  // as the first call found it
  d.length = length;
  note_cork(c);
  return is_last ? send_pending(c, lock, flags) : 0;
}

int Session::send_corked(std::span<DatagramSend> all, int flags) {
  int done = 0;
  for (DatagramSend& d : all) {
    if (const int e = add_to_cork(d, flags); e != 0) return done != 0 ? done : e;
    ++done;
  }
  return done;
}

int Session::cork(bool on) {
  if (!on && !holds_back.load(std::memory_order_relaxed)) return 0;
  DatagramCork* const cork = the_cork();
  if (!cork) return -ENOBUFS;
  DatagramCork& c = *cork;
  std::unique_lock lock(c.mutex);
  c.is_on = on;
  note_cork(c);
  // As on Linux nobody hears whether it could leave.
  if (!on && c.is_pending) (void)send_pending(c, lock, 0);
  return 0;
}

bool Session::is_corked() {
  if (!holds_back.load(std::memory_order_relaxed)) return false;
  DatagramCork* const c = the_cork();
  if (!c) return false;
  const std::lock_guard lock(c->mutex);
  return c->is_on;
}

// What the parent has begun is the parent's. Where another thread of it was at work, its bytes are
// in no state to be given back.
void Session::cork_after_fork() noexcept {
  if (!cork_) return;
  DatagramCork* const was = cork_.release();
  const bool is_on = was->is_on;
  if (was->mutex.try_lock()) {
    was->mutex.unlock();
    delete was;
  }
  cork_.reset(new (std::nothrow) DatagramCork);
  if (cork_) cork_->is_on = is_on;
  holds_back.store(cork_ && is_on, std::memory_order_relaxed);
}

void Session::end_cork() noexcept {
  cork_.reset();
  holds_back.store(false, std::memory_order_relaxed);
}

}  // namespace loom::vcl
