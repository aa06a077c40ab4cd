// Session: datagrams. Each lies in a fifo behind its header (svm/datagram.h), whole or not at all.
#include "svm/datagram.h"

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);
constexpr size_t kMaxIp4Bytes = 65'507;  // 65535 without the headers of IPv4 and UDP
constexpr size_t kMaxViews = 32;         // a datagram in the smallest chunks has 17
// POLLOUT means that a third of the fifo is free: that is to be enough for any datagram.
constexpr uint32_t kLeastTxFifo = 3 * (kMaxDatagramBytes + kHeader);
constexpr uint32_t kLeastRxFifo = kMaxDatagramBytes + kHeader;  // an empty one takes any datagram
constexpr uint8_t kDefaultTtl = 64;                             // as the transport's
constexpr ssize_t kLinksChanged = -5000;  // no errno: settle_links(), and again

uint32_t limit(uint32_t asked, uint64_t otherwise, uint32_t least) noexcept {
  return std::max(asked ? asked : static_cast<uint32_t>(otherwise), least);
}

// More than a datagram can have counts as that and one.
size_t length_of(std::span<const iovec> v) noexcept {
  constexpr size_t kTooMany = kMaxDatagramBytes + 1;
  size_t n = 0;
  for (const iovec& e : v) n += std::min(e.iov_len, kTooMany - n);
  return n;
}

bool is_multicast(const svm::Endpoint& e) noexcept {
  return e.is_ip4 ? (e.ip[0] & 0xf0) == 0xe0 : e.ip[0] == 0xff;
}
bool is_all(const svm::Endpoint& e, uint8_t value) noexcept {
  return std::all_of(e.ip, e.ip + (e.is_ip4 ? 4 : 16), [=](uint8_t b) { return b == value; });
}
bool is_limited_broadcast(const svm::Endpoint& e) noexcept { return e.is_ip4 && is_all(e, 255); }
bool is_any(const svm::Endpoint& e) noexcept { return is_all(e, 0); }

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
        e.rx_fifo_size = limit(rx_size, worker_.config().rx_fifo_size, kLeastRxFifo);
        e.tx_fifo_size = limit(tx_size, worker_.config().tx_fifo_size, kLeastTxFifo);
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
  } else {
    error_ = errno_of(e.status);
  }
  state_.store(State::kOpen, std::memory_order_release);
  if (links_changed()) sync_links();
}

// --- Links with other applications of this daemon

// Under mutex_.
bool Session::links_changed() const noexcept {
  if (!is_datagram() || state() != State::kOpen) return false;
  if (!link_table_) return std::atomic_ref(shared_->block).load(std::memory_order_acquire) != 0;
  return links_over_ || link_table_->version.load(std::memory_order_acquire) != links_seen_;
}

void Session::tell_link(svm::ToDaemon type, const DatagramLink& l) noexcept {
  worker_.send(*attachment_, daemon_worker(), type, svm::LinkEvent{handle_, l.slot(), l.serial()});
}

// Under the worker's mutex and mutex_.
void Session::sync_links() {
  static svm::DatagramLinks none{};  // where the reference leads nowhere
  links_over_ = false;
  if (!link_table_) {
    const svm::Ref ref = std::atomic_ref(shared_->block).load(std::memory_order_acquire);
    auto* t = attachment_->table().resolve_as<svm::DatagramLinks>(ref);
    const uint32_t n = t ? t->capacity : 0;
    const bool is_good =
        n != 0 && n <= svm::kMaxDatagramLinks &&
        attachment_->table().resolve_as<svm::DatagramLinks>(ref, n * sizeof(svm::DatagramLinkSlot));
    link_table_ = is_good ? t : &none;
    links_let_go_.assign(is_good ? n : 0, 0);
    links_seen_ = 0;
  }
  const ProcessLock process_lock(*shared_);
  // Another process may still look at it, and then it stays until the session ends.
  const bool may_let_go = std::popcount(shared_->holders.load(std::memory_order_relaxed)) <= 1;
  links_seen_ = link_table_->version.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < links_let_go_.size(); ++i) {
    const svm::DatagramLinkSlot& slot = svm::link_slots(*link_table_)[i];
    const uint32_t word = slot.word.load(std::memory_order_acquire);
    const uint32_t state = svm::link_state(word), serial = svm::link_serial(word);
    auto at =
        std::find_if(links_.begin(), links_.end(), [i](const auto& l) { return l->slot() == i; });
    if (at != links_.end() && (state == svm::kLinkFree || (*at)->serial() != serial)) {
      (*at)->leave(*this);
      links_.erase(at);
      at = links_.end();
    }
    if (state == svm::kLinkFree || (at == links_.end() && serial == links_let_go_[i])) continue;
    if (at == links_.end()) {
      auto l = DatagramLink::open(worker_, *attachment_, *this, i, slot, word);
      if (!l) {  // no descriptors, say: the two go on by the transport
        links_let_go_[i] = serial;
        const svm::LinkEvent e{handle_, i, serial};
        worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kLinkDone, e);
        continue;
      }
      l->set_owner(shared_->owner.load(std::memory_order_relaxed));
      links_.push_back(std::move(l));
      at = links_.end() - 1;
    }
    if (state != svm::kLinkOpen) (*at)->end();
    if (!(*at)->is_done()) continue;
    if (!may_let_go) {
      (*at)->keep();
      continue;
    }
    (*at)->leave(*this);
    links_let_go_[i] = serial;
    tell_link(svm::ToDaemon::kLinkDone, **at);
    links_.erase(at);
  }
  turn_ %= static_cast<uint32_t>(links_.size() + 1);
  worker_.drop_unused_pairs();
}

void Session::look_at_links() {
  const std::lock_guard lock(mutex_);
  if (links_changed()) sync_links();
}

void Session::settle_links() {
  if (!is_datagram()) return;
  {
    const std::lock_guard lock(mutex_);
    if (!links_changed()) return;
  }
  const std::lock_guard worker_lock(worker_.mutex());
  look_at_links();
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

uint32_t Session::rx_limit() {
  const std::lock_guard lock(mutex_);
  if (is_datagram() && shared_) return rx_.size();
  return limit(rx_size, worker_.config().rx_fifo_size, 0);
}

uint32_t Session::tx_limit() {
  const std::lock_guard lock(mutex_);
  if (is_datagram() && shared_) return tx_.size();
  return limit(tx_size, worker_.config().tx_fifo_size, 0);
}

// The next datagram in turn: of the rx fifo (`from` is nullptr) or of a link.
bool Session::find_datagram(DatagramLink*& from, svm::DatagramHeader& h) {
  from = nullptr;
  if (links_.empty()) [[likely]]
    return next_datagram(rx_.available(), h);
  const auto n = static_cast<uint32_t>(links_.size() + 1);
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t at = (turn_ + i) % n;
    from = at == 0 ? nullptr : links_[at - 1].get();
    const bool found = from ? from->next(h) : next_datagram(rx_.available(), h);
    if (from && from->is_over()) links_over_ = true;
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
    if (l->is_over()) links_over_ = true;
  }
  return false;
}

// True: nothing beyond what has been seen.
bool Session::arm_links() {
  bool all = true;
  for (const auto& l : links_) {
    all &= l->arm();
    if (l->is_over()) links_over_ = true;
  }
  return all;
}

// One attempt. Arms nothing: whoever waits looks by poll(), which does.
ssize_t Session::take_datagram(std::span<const iovec> to, int flags, DatagramIn* in) {
  if (!shared_) return cannot_receive();
  if (links_changed()) [[unlikely]]
    return kLinksChanged;
  const ProcessLock process_lock(*shared_);
  become_owner();
  while (true) {
    if (const int error = datagram_error(true); error != 0) return -error;
    svm::DatagramHeader h;
    DatagramLink* from;
    if (find_datagram(from, h)) {
      if (!from && (h.flags & svm::kDatagramError)) continue;  // it came after the look for errors
      uint32_t n = 0;
      if (from) {
        if (!from->peek(h, to, n)) {
          links_over_ = true;
          return kLinksChanged;
        }
      } else {
        for (const iovec& v : to) {
          const size_t len = std::min<size_t>(v.iov_len, h.length - n);
          n += rx_.peek(kHeader + n, {static_cast<std::byte*>(v.iov_base), len});
          if (n == h.length) break;
        }
      }
      if (!(flags & MSG_PEEK)) {
        if (from) {
          from->drop(h);
          links_over_ |= from->is_over();
        } else {
          rx_.drop(kHeader + h.length);
        }
        if (!links_.empty()) turn_ = (turn_ + 1) % static_cast<uint32_t>(links_.size() + 1);
      }
      if (in) *in = {h, n < h.length};
      return flags & MSG_TRUNC ? h.length : n;
    }
    if (rx_.violation()) fail(EIO);
    if (state() == State::kFailed) return cannot_receive();
    const ssize_t end = end_of_stream();
    if (end != -EAGAIN || rx_.refresh() == 0) return end;
  }
}

ssize_t Session::receive_datagram(std::span<const iovec> to, int flags, DatagramIn* in) {
  TimeNs deadline = 0;
  while (true) {
    ssize_t n;
    bool is_over;
    {
      const std::lock_guard lock(mutex_);
      n = take_datagram(to, flags, in);
      is_over = links_over_;
    }
    if (n == kLinksChanged || is_over) [[unlikely]]
      settle_links();
    if (n == kLinksChanged) continue;
    if (n != -EAGAIN || (flags & MSG_DONTWAIT) || nonblocking()) return n;
    if (deadline == 0) deadline = sys::deadline_in(rcv_timeout.load(std::memory_order_relaxed));
    if (const int e = worker_.wait(*this, POLLIN, deadline); e != 0) return e;
  }
}

// --- Sending

// False: there is no link to that address, or it is broken: by the transport. UDP_SEGMENT is cut
// here; what the peer has no room for is dropped, as by Linux's loopback.
bool Session::send_by_link(std::span<const iovec> from, size_t n, const DatagramOut& out,
                           const svm::Endpoint& to, svm::DatagramHeader h) {
  DatagramLink* link = nullptr;
  // Who answers has just read from it.
  for (uint32_t i = 0, count = static_cast<uint32_t>(links_.size()); i < count && !link; ++i)
    if (DatagramLink& l = *links_[(turn_ + count - 2 + i) % count]; l.leads_to(to, out.source))
      link = &l;
  if (!link) return false;
  if (out.tos < 0) h.tos = options_.dscp_tos;
  if (!(h.flags & kDatagramTtl)) h.ttl = kDefaultTtl;
  h.gso_size = 0;
  const size_t most = out.gso_size != 0 ? out.gso_size : n;
  bool rings = false, is_broken = false;
  size_t done = 0;
  do {
    h.length = static_cast<uint32_t>(std::min(most, n - done));
    const auto sent = link->send(h, from, done);
    rings |= sent == DatagramLink::Sent::kRing;
    is_broken = sent == DatagramLink::Sent::kBroken;
    done += h.length;
  } while (done < n && !is_broken);
  if (rings && !link->ring()) tell_link(svm::ToDaemon::kLinkRing, *link);
  links_over_ |= is_broken;
  return !is_broken;
}

// One attempt: header and payload together.
ssize_t Session::put_datagram(std::span<const iovec> from, size_t n, const DatagramOut& out) {
  if (const int e = cannot_send(); e != 0) return e;
  if (links_changed()) [[unlikely]]
    return kLinksChanged;
  const ProcessLock process_lock(*shared_);
  become_owner();
  if (remote_.port != 0)
    if (const int error = datagram_error(true); error != 0) return -error;
  const svm::Endpoint& to = out.to ? *out.to : remote_;
  if (to.port == 0) return out.to ? -EINVAL : -EDESTADDRREQ;
  if (!reaches(to)) return -ENETUNREACH;
  if (to.is_ip4 && n > kMaxIp4Bytes && out.gso_size == 0) return -EMSGSIZE;
  const bool is_group = is_multicast(to);
  if (is_limited_broadcast(to) && !options_.broadcast) return -EACCES;
  // A socket that is bound to an address sends from that.
  const bool has_group_source = is_group && to.is_ip4 && !is_any(group_source_) && !bound_source_;
  const svm::Endpoint* source = !out.source && has_group_source ? &group_source_ : out.source;
  svm::DatagramHeader h{};
  h.length = static_cast<uint32_t>(n);
  h.gso_size = out.gso_size;
  h.is_ip4 = to.is_ip4;
  if (out.to || source || is_group) {  // a source needs a destination of its family beside it
    h.flags |= kDatagramRemote;
    h.remote_port = to.port;
    std::memcpy(h.remote_ip, to.ip, sizeof h.remote_ip);
  }
  if (source) {
    if (source->is_ip4 != to.is_ip4) return -EINVAL;
    h.flags |= kDatagramLocal;
    std::memcpy(h.local_ip, source->ip, sizeof h.local_ip);
  }
  if (out.tos >= 0) {
    h.flags |= kDatagramTos;
    h.tos = static_cast<uint8_t>(out.tos);
  }
  const int own_hops = is_group ? (to.is_ip4 ? ip4_group_hops : ip6_group_hops).load() : ttl;
  if (const int hops = out.ttl >= 0 ? out.ttl : own_hops; hops > 0 || is_group) {
    h.flags |= kDatagramTtl;
    h.ttl = static_cast<uint8_t>(hops);
  }
  if (!links_.empty() && send_by_link(from, n, out, to, h)) return static_cast<ssize_t>(n);
  const uint32_t total = kHeader + h.length;
  if (total > tx_.size()) return -EMSGSIZE;
  while (true) {
    if (tx_.space() < total && tx_.refresh() < total) {
      if (tx_.violation()) break;
      if (tx_.want_space(total)) return -EAGAIN;
      continue;
    }
    svm::MutableByteView views[kMaxViews];
    const uint32_t n_views = tx_.reserve(total, views);
    if (tx_.violation()) break;
    size_t room = 0;
    for (uint32_t i = 0; i < n_views; ++i) room += views[i].size();
    if (room < total) {
      if (!more_memory()) return -ENOBUFS;
      continue;
    }
    const iovec header{&h, sizeof h};
    copy_out({&header, 1}, 0, {views, n_views}, 0, sizeof h);
    copy_out(from, 0, {views, n_views}, sizeof h, n);
    tx_.commit(total);
    if (tx_.should_notify()) tell(svm::ToDaemon::kTx);
    return static_cast<ssize_t>(n);
  }
  fail(EIO);
  return cannot_send();
}

ssize_t Session::send_datagram(std::span<const iovec> from, int flags, const DatagramOut& asked) {
  DatagramOut out = asked;
  if (out.gso_size == 0) out.gso_size = gso_size.load(std::memory_order_relaxed);
  if (flags & (MSG_OOB | MSG_MORE)) return -EOPNOTSUPP;
  const size_t n = length_of(from);
  if (n > kMaxDatagramBytes) return -EMSGSIZE;
  if (out.gso_size != 0 && n > size_t{out.gso_size} * svm::kMaxGsoSegments) return -EINVAL;
  if (uint32_t mtu = 0; const int e = check_path(n, out, mtu)) {
    if (hears_errors_) add_local_error(out.to ? *out.to : remote(), mtu);
    return e;
  }
  TimeNs deadline = 0;
  bool has_deadline = false;
  while (true) {
    ssize_t outcome;
    {
      const std::lock_guard lock(mutex_);
      outcome = put_datagram(from, n, out);
    }
    if (outcome == kLinksChanged) {
      settle_links();
      continue;
    }
    if (outcome != -EAGAIN) return outcome;
    if (const int e = wait_writable(flags, deadline, has_deadline); e != 0) return e;
  }
}

}  // namespace loom::vcl
