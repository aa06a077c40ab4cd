// Session: datagrams. Each lies in a fifo behind its header (svm/datagram.h), whole or not at all.
#include "svm/datagram.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/datagram_put.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);
constexpr size_t kMaxIp4Bytes = 65'507;       // 65535 without the headers of IPv4 and UDP
constexpr uint32_t kMaxRecordBytes = 16'384;  // of DTLS (RFC 6347 section 4.1)
constexpr uint8_t kDefaultTtl = 64;           // as the transport's
constexpr ssize_t kLinksChanged = -5000;      // no errno: settle_links(), and again

uint32_t limit(uint32_t asked, uint64_t otherwise, uint32_t least) noexcept {
  return std::max(asked ? asked : static_cast<uint32_t>(otherwise), least);
}

uint32_t most_of(bool is_connectionless) noexcept {
  return is_connectionless ? kMaxDatagramBytes : kMaxRecordBytes;
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

// An empty one takes any datagram.
uint32_t Session::rx_to_ask() const noexcept {
  if (!is_datagram()) return rx_size;
  return limit(rx_size, worker_.config().rx_fifo_size, most_of(is_connectionless()) + kHeader);
}

// POLLOUT means that a third of the fifo is free: that is to be enough for any datagram.
uint32_t Session::tx_to_ask() const noexcept {
  if (!is_datagram()) return tx_size;
  return limit(tx_size, worker_.config().tx_fifo_size,
               3 * (most_of(is_connectionless()) + kHeader));
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

// One attempt. Arms nothing: whoever waits looks by poll(), which does.
ssize_t Session::take_datagram(std::span<const iovec> to, int flags, DatagramIn* in) {
  if (!shared_) return cannot_receive();
  const ProcessLock process_lock(*shared_);
  if (links_changed()) [[unlikely]]
    return kLinksChanged;
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
          links_over_ |= from->is_done();
          link_read_ = turn_ - 1;
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
    if (!links_.empty() && is_link_table_new()) return kLinksChanged;  // they were not looked at
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
// here; what the peer has no room for is dropped, as by Linux's loopback, and of one that is cut
// what comes behind it, too.
bool Session::send_by_link(std::span<const iovec> from, size_t n, const DatagramOut& out,
                           const svm::Endpoint& to, svm::DatagramHeader h) {
  DatagramLink* link = nullptr;
  // Who answers has just read from it; more than one may lead there.
  for (uint32_t i = 0, count = static_cast<uint32_t>(links_.size()); i < count && !link; ++i)
    if (DatagramLink& l = *links_[(link_read_ + i) % count]; l.leads_to(to, out.source)) link = &l;
  if (!link || !link->may_be_written(tx_)) return false;
  if (out.tos < 0) h.tos = options_.dscp_tos;
  if (!(h.flags & kDatagramTtl)) h.ttl = kDefaultTtl;
  h.gso_size = 0;
  const size_t most = out.gso_size != 0 ? out.gso_size : n;
  bool rings = false;
  auto sent = DatagramLink::Sent::kYes;
  size_t done = 0;
  do {
    h.length = static_cast<uint32_t>(std::min(most, n - done));
    sent = link->send(h, from, done);
    if (sent == DatagramLink::Sent::kDropped) {
      link->count_dropped(most == 0 ? 1 : static_cast<uint32_t>((n - done + most - 1) / most));
      break;
    }
    rings |= sent == DatagramLink::Sent::kRing;
    done += h.length;
  } while (done < n && sent != DatagramLink::Sent::kBroken);
  const bool is_broken = sent == DatagramLink::Sent::kBroken;
  if (rings && !link->ring())
    tell_link(svm::ToDaemon::kLinkRing, link->slot(),
              svm::link_word(link->serial(), svm::kLinkOpen));
  links_over_ |= is_broken;
  return !is_broken;
}

// One attempt: header and payload together.
ssize_t Session::put_datagram(std::span<const iovec> from, size_t n, const DatagramOut& out) {
  if (const int e = cannot_send(); e != 0) return e;
  const ProcessLock process_lock(*shared_);
  if (links_changed()) [[unlikely]]
    return kLinksChanged;
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
    switch (vcl::put_datagram(tx_, h, from, 0, [this] { return more_memory(); })) {
      case Put::kDone:
        if (tx_.should_notify()) tell(svm::ToDaemon::kTx);
        return static_cast<ssize_t>(n);
      case Put::kFull:
        if (tx_.want_space(total)) return -EAGAIN;
        break;
      case Put::kNoMemory:
        return -ENOBUFS;
      case Put::kViolation:
        fail(EIO);
        return cannot_send();
    }
  }
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
