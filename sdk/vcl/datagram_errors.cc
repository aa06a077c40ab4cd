// Session: the errors of datagrams that were sent, with all that is known of each (IP_RECVERR,
// MSG_ERRQUEUE).
//
// They come in the rx fifo, among the datagrams. Who looks at the fifo takes a copy of those that
// he has not seen yet, however far behind, into a queue of this process, and drops them when they
// are next. Each that ICMP has brought is the socket's pending error as well, until a call has
// returned it or the queue was read, as on Linux.
#include <algorithm>
#include <cerrno>

#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);
constexpr size_t kMostErrors = 2 * svm::kMaxQueuedErrors;  // in the queue; later ones are lost
constexpr uint16_t kLocalOrigin = 1;                       // SO_EE_ORIGIN_LOCAL

}  // namespace

// Under mutex_ and the process lock.
void Session::collect_errors() {
  const uint32_t ready = rx_.refresh();
  uint32_t at = errors_seen_ - rx_.head();
  if (at > ready) at = 0;  // it was read beyond that place meanwhile
  while (ready - at >= kHeader) {
    QueuedError e{};
    if (rx_.peek(at, std::as_writable_bytes(std::span(&e.header, 1))) != kHeader) break;
    const uint32_t length = e.header.length;
    if (length > ready - at - kHeader) break;  // next_datagram() finds out when it comes to it
    const bool is_queued = e.header.flags & svm::kDatagramQueued;
    const bool is_local = e.header.gso_size == kLocalOrigin;
    if (is_queued && !is_local) queued_error_ = e.header.error;
    if (is_queued && is_local && e.header.error == EACCES) {  // a mistake: some call is to fail
      error_ = EACCES;
    } else if (is_queued && errors_.size() < kMostErrors) {
      const auto packet = std::as_writable_bytes(std::span(&e.packet, 1));
      const auto n = static_cast<uint32_t>(std::min<size_t>(length, packet.size()));
      (void)rx_.peek(at + kHeader, packet.first(n));
      e.header.length = std::min(length - n, svm::kMaxQuoted);
      e.payload.resize(e.header.length);
      (void)rx_.peek(at + kHeader + n, std::as_writable_bytes(std::span(e.payload)));
      errors_.push_back(std::move(e));
    }
    at += kHeader + length;
  }
  errors_seen_ = rx_.head() + at;
  // Those that are next have been seen.
  svm::DatagramHeader h;
  while (next_datagram(rx_.available(), h) && (h.flags & svm::kDatagramQueued))
    rx_.drop(kHeader + h.length);
}

ssize_t Session::receive_error(std::span<const iovec> to, DatagramIn& in, svm::ErrorPacket* by) {
  const std::lock_guard lock(mutex_);
  if (!shared_) return -EAGAIN;
  const ProcessLock process_lock(*shared_);
  become_owner();
  if (hears_errors_) collect_errors();
  if (errors_.empty()) return -EAGAIN;
  const QueuedError e = std::move(errors_.front());
  errors_.pop_front();
  const auto pending = std::ranges::find_if(
      errors_, [](const QueuedError& next) { return next.header.gso_size != kLocalOrigin; });
  queued_error_ = pending == errors_.end() ? 0 : pending->header.error;
  size_t n = 0;
  for (const iovec& v : to) {
    const size_t len = std::min(v.iov_len, e.payload.size() - n);
    std::copy_n(e.payload.data() + n, len, static_cast<char*>(v.iov_base));
    n += len;
  }
  in = {e.header, n < e.payload.size()};
  if (by) *by = e.packet;
  return static_cast<ssize_t>(n);
}

void Session::add_local_error(const svm::Endpoint& to, uint32_t mtu) {
  const std::lock_guard lock(mutex_);
  if (!(to.is_ip4 ? options_.ip4_errors : options_.ip6_errors)) return;
  if (errors_.size() >= kMostErrors) return;
  QueuedError e{};
  e.header.flags = svm::kDatagramError | svm::kDatagramQueued;
  e.header.gso_size = kLocalOrigin;
  e.header.error = EMSGSIZE;
  e.header.is_ip4 = to.is_ip4;
  e.header.interface = mtu;
  e.header.remote_port = to.port;
  std::copy(std::begin(to.ip), std::end(to.ip), e.header.remote_ip);
  errors_.push_back(std::move(e));
}

void Session::hear_errors(bool is_ip4, bool on) {
  change_options([&](svm::SocketOptions& o) {
    if (is_ip4)
      o.ip4_errors = on;
    else
      o.ip6_errors = on;
    hears_errors_ |= on;  // for good: some may be on their way
  });
}

}  // namespace loom::vcl
