// Datagram sessions: what they receive, whole datagrams and errors of sent ones in the rx fifo,
// each behind an svm::DatagramHeader.
//   in    datagrams that transports have received (rx_datagram), and what they hear of sent ones
//   out   the rx fifo: all of one or nothing
//   cost  received payload is copied once; who has asked when it came, or from where a group's is
//         answered (a look at the routes), pays for that with each
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "net/net_ops.h"
#include "session/impl.h"
#include "svm/datagram.h"

namespace loom::session {
namespace {

constexpr std::size_t kMaxViews = 32;  // a datagram in the smallest chunks has 17

// What only daemon workers of the session's write. The application reads it.
void count(std::atomic<uint32_t>& n) noexcept {
  n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// Copies what is in front and the chain into the views, which have room for both.
void scatter(std::span<const svm::MutableByteView> views, std::span<const std::byte> front,
             const Buffer& chain, uint32_t offset, uint32_t length) noexcept {
  std::size_t view = 0, at = 0;
  const auto put = [&](const std::byte* from, std::size_t n) {
    while (n != 0) {
      const std::size_t piece = std::min(n, views[view].size() - at);
      std::memcpy(views[view].data() + at, from, piece);
      from += piece;
      n -= piece;
      if ((at += piece) == views[view].size()) {
        ++view;
        at = 0;
      }
    }
  };
  put(front.data(), front.size());
  for (const Buffer* b = &chain; b && length != 0; b = b->next) {
    if (offset >= b->len) {
      offset -= b->len;
      continue;
    }
    const uint32_t n = std::min(b->len - offset, length);
    put(b->data + offset, n);
    length -= n;
    offset = 0;
  }
}

// A header, perhaps with more behind it, and `length` bytes of the chain. All of it or nothing.
Status store(SessionWorker& sw, Session& s, std::span<const std::byte> front, const Buffer& chain,
             uint32_t offset, uint32_t length) noexcept {
  if (!s.shared || s.state == State::kClosing) return Status::kClosed;
  auto rx = rx_of(s);
  const uint32_t total = static_cast<uint32_t>(front.size()) + length;
  Status status = Status::kOk;
  if (rx.space() < total && rx.refresh() < total) {
    status = Status::kAgain;
  } else {
    svm::MutableByteView views[kMaxViews];
    const uint32_t n = rx.reserve(total, views);
    std::size_t room = 0;
    for (uint32_t i = 0; i < n; ++i) room += views[i].size();
    if (room == total) {
      scatter({views, n}, front, chain, offset, length);
      rx.commit(total);
      notify(sw, s, kNotifyRx);
    } else {
      status = Status::kNoMemory;
      ++sw.counters[kNoSegmentMemory];
      ask_growth(sw, *s.app);
    }
  }
  if (!(s.flags & kHoldsChunks) && rx.holds_chunks()) watch_chunks(sw, s);
  if (rx.violation()) condemn(sw, *s.app);
  return status;
}

uint16_t errno_of(ResetReason r) noexcept {
  switch (r) {
    case ResetReason::kRefused:
      return ECONNREFUSED;
    case ResetReason::kMessageSize:
      return EMSGSIZE;
    case ResetReason::kNoMemory:
      return ENOBUFS;
    case ResetReason::kTimedOut:
      return ETIMEDOUT;
    case ResetReason::kUnreachable:
      return ENETUNREACH;
    default:
      return EHOSTUNREACH;
  }
}

// When what comes in this round has come. Of many sockets that ask the first reads the clock.
TimeNs arrival(SessionWorker& sw) noexcept {
  if (sw.arrival_round != sw.worker->now) {
    sw.arrival_round = sw.worker->now;
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    sw.arrival = t.tv_sec * kSecond + t.tv_nsec;
  }
  return sw.arrival;
}

// From where an answer to a datagram of IPv4 would come that came for a group: as by route, or from
// the interface that it came by (Linux's ipi_spec_dst). Zero: not known.
Ip4Address answered_from(Worker& w, const Datagram& d) noexcept {
  if (!w.net) return {};
  RouteInfo route;
  if (!d.ends.remote.is_zero() &&  // as of who has no address yet
      w.net->route(w, d.ends.remote, d.ends.fib_index, &route) == Status::kOk)
    return route.source.ip4();
  const GroupDestination link{d.ends.local, {}, d.interface, d.ends.fib_index};
  const bool is_known = d.interface != kNoIndex && w.net->route_group &&
                        w.net->route_group(w, link, &route) == Status::kOk;
  return is_known ? route.source.ip4() : Ip4Address{};
}
}  // namespace

Status rx_datagram(Worker& w, SessionId id, const Datagram& d, const Buffer& chain, uint32_t offset,
                   uint32_t length) noexcept {
  SessionWorker& sw = of(w);
  svm::DatagramHeader h{};
  h.length = length;
  h.gso_size = d.segment;
  h.flags = svm::kDatagramKnownFlags;
  h.is_ip4 = d.ends.remote.is_ip4;
  h.tos = d.tos;
  h.ttl = d.ttl;
  h.local_port = Be16(d.ends.local_port).raw();
  h.remote_port = Be16(d.ends.remote_port).raw();
  h.interface = d.interface;
  std::memcpy(h.local_ip, d.ends.local.bits.bytes.data(), sizeof h.local_ip);
  std::memcpy(h.remote_ip, d.ends.remote.bits.bytes.data(), sizeof h.remote_ip);
  Session& s = sw.pool.at(id);
  if ((s.link_bound & kTellsArrival) && s.shared) [[unlikely]] {
    h.dropped = s.fifos().daemon.n_dropped.load(std::memory_order_relaxed);
    h.time = arrival(sw);
  }
  if (chain.flags & kBufferNetGroup) [[unlikely]] {
    h.flags |= svm::kDatagramToGroup;
    if ((s.link_bound & kTellsSource) && h.is_ip4) {
      const Ip4Address own = answered_from(w, d);
      std::memcpy(h.local_ip + sizeof own, own.bytes.data(), sizeof own);
    }
  }
  const Status status = store(sw, s, std::as_bytes(std::span(&h, 1)), chain, offset, length);
  if (status == Status::kAgain || status == Status::kNoMemory) [[unlikely]]
    count(s.fifos().daemon.n_dropped);
  return status;
}

namespace {
// Of the errors in the rx fifo, those that the application has not read as far as is known.
uint32_t errors_waiting(Session& s) noexcept {
  if (!s.shared || s.error_end == 0) return 0;
  auto rx = rx_of(s);
  (void)rx.refresh();
  if (rx.used() <= rx.tail() - s.error_end) s.n_errors = 0;
  return s.n_errors;
}

Status store_error(SessionWorker& sw, Session& s, std::span<const std::byte> front,
                   const Buffer& chain, uint32_t offset, uint32_t length) noexcept {
  // With a full fifo the error is lost, as the datagrams behind it are.
  const Status status = store(sw, s, front, chain, offset, length);
  if (status != Status::kOk) return status;
  s.error_end = rx_of(s).tail();
  ++s.n_errors;
  return status;
}
}  // namespace

void call_fails(Worker& w, SessionId id, uint16_t error) noexcept {
  SessionWorker& sw = of(w);
  Session& s = sw.pool.at(id);
  // One at a time, as on Linux: who does not read must not lose datagrams to errors.
  if (errors_waiting(s) != 0) return;
  svm::DatagramHeader h{};
  h.flags = svm::kDatagramError;
  h.error = error;
  Buffer nothing;
  (void)store_error(sw, s, std::as_bytes(std::span(&h, 1)), nothing, 0, 0);
}

void soft_error(Worker& w, SessionId id, ResetReason reason) noexcept {
  call_fails(w, id, errno_of(reason));
}

Status datagram_error(Worker& w, SessionId id, const DatagramError& e, const Buffer& chain,
                      uint32_t offset, uint32_t length) noexcept {
  SessionWorker& sw = of(w);
  Session& s = sw.pool.at(id);
  if (errors_waiting(s) >= svm::kMaxQueuedErrors) return Status::kAgain;
  struct {
    svm::DatagramHeader h;
    svm::ErrorPacket packet;
  } front{};
  static_assert(sizeof front == sizeof front.h + sizeof front.packet);
  const uint32_t quoted = std::min(length, svm::kMaxQuoted);
  svm::DatagramHeader& h = front.h;
  h.length = static_cast<uint32_t>(sizeof front.packet) + quoted;
  h.gso_size = e.origin;
  h.flags = svm::kDatagramError | svm::kDatagramQueued;
  h.is_ip4 = e.ends.remote.is_ip4;
  h.error = e.error;
  h.tos = e.type;
  h.ttl = e.code;
  h.local_port = Be16(e.ends.local_port).raw();
  h.remote_port = Be16(e.ends.remote_port).raw();
  h.interface = e.info;
  std::memcpy(h.local_ip, e.offender.bits.bytes.data(), sizeof h.local_ip);
  std::memcpy(h.remote_ip, e.ends.remote.bits.bytes.data(), sizeof h.remote_ip);
  if ((s.link_bound & kTellsArrival) && s.shared) h.time = arrival(sw);
  std::memcpy(front.packet.to, e.to.bits.bytes.data(), sizeof front.packet.to);
  front.packet.interface = e.interface + 1;  // kNoIndex: 0
  front.packet.tos = e.tos;
  front.packet.ttl = e.ttl;
  return store_error(sw, s, std::as_bytes(std::span(&front, 1)), chain, offset, quoted);
}

}  // namespace loom::session
