// Datagrams of in-process applications (AppCalls), and of sessions whose transport is an
// application (SessionOps::tx_datagram). On the session's worker.
//   cost  one copy each way; header and payload are published by one store
#include "session/in_process_datagrams.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "session/in_process.h"
#include "svm/datagram.h"
#include "transport/ops_table.h"

namespace loom::session {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);
constexpr std::size_t kMaxViews = 32;

// Null: not the application's any more, or no session of datagrams.
Session* open_one(SessionWorker& sw, SessionId id) noexcept {
  if (!sw.pool.contains(id)) return nullptr;
  Session& s = sw.pool.at(id);
  constexpr uint8_t kLook = AppEnd::kKnown | AppEnd::kClosed;
  if (s.state == State::kMigrated || (s.app_end.due & kLook) != AppEnd::kKnown) return nullptr;
  if (!s.shared || !(s.flags & kTransportUp)) return nullptr;
  return ops_of(sw, s)->tx_kind == TxKind::kDatagram ? &s : nullptr;
}

svm::DatagramHeader header_of(const Datagram& d, std::size_t length) noexcept {
  svm::DatagramHeader h{};
  h.length = static_cast<uint32_t>(length);
  h.flags = static_cast<uint8_t>(d.flags & svm::kDatagramKnownFlags);
  h.is_ip4 = d.ends.remote.is_ip4;
  h.tos = d.tos;
  h.ttl = d.ttl;
  h.local_port = Be16(d.ends.local_port).raw();
  h.remote_port = Be16(d.ends.remote_port).raw();
  std::memcpy(h.local_ip, d.ends.local.bits.bytes.data(), sizeof h.local_ip);
  std::memcpy(h.remote_ip, d.ends.remote.bits.bytes.data(), sizeof h.remote_ip);
  return h;
}

Datagram datagram_of(const svm::DatagramHeader& h) noexcept {
  svm::Endpoint local{}, remote{};
  local.is_ip4 = remote.is_ip4 = h.is_ip4;
  local.port = h.local_port;
  remote.port = h.remote_port;
  std::memcpy(local.ip, h.local_ip, sizeof local.ip);
  std::memcpy(remote.ip, h.remote_ip, sizeof remote.ip);
  Datagram d;
  d.ends = endpoints_of(local, remote);
  d.flags = h.flags;
  d.interface = h.interface;
  d.tos = h.tos;
  d.ttl = h.ttl;
  return d;
}

Status status_of(uint16_t error) noexcept {
  switch (error) {
    case ECONNREFUSED:
      return Status::kRefused;
    case EMSGSIZE:
      return Status::kInvalid;
    case ENOBUFS:
      return Status::kNoMemory;
    default:
      return Status::kUnreachable;
  }
}

// Takes a datagram from that fifo, of which `ready` bytes are known. False: the framing is broken.
template <class Fifo>
bool take(Fifo& fifo, uint32_t ready, svm::DatagramHeader& h, std::span<std::byte> to) noexcept {
  if (ready < kHeader || fifo.peek(0, std::as_writable_bytes(std::span(&h, 1))) != kHeader ||
      h.length > kMaxDatagramBytes || h.length > ready - kHeader)
    return false;
  const std::size_t n = std::min<std::size_t>(h.length, to.size());
  return n == 0 || fifo.peek(kHeader, to.first(n)) == n;
}

}  // namespace

Status open_at(Worker& w, Application& handle, SessionId upper, const AppEndpoint& lower,
               void* context, SessionId* out) noexcept {
  SessionWorker& sw = of(w);
  auto& app = static_cast<InProcessApp&>(handle);
  const auto how = full_size_copy(lower, kLeastEndpoint);
  Listener* const l = sw.layer->listener(upper);
  if (!how || !l) return Status::kInvalid;
  if (app.condemned.load(std::memory_order_acquire)) return Status::kClosed;
  ConnectArgs args{.transport = find_transport(*sw.layer, *how),
                   .endpoints = l->endpoints,
                   .options = how->options,
                   .rx_fifo_size = how->rx_fifo_size,
                   .tx_fifo_size = how->tx_fifo_size};
  const TransportOps* ops = sw.layer->transports.get(args.transport);
  if (!ops || !ops->connect || ops->tx_kind != TxKind::kDatagram || !l->face().scope.global)
    return Status::kUnsupported;
  args.options.v6only |= l->fibs.ip4 != l->fibs.ip6;
  if (const Status s = place_bound(sw, l->face(), args.endpoints); s != Status::kOk) return s;
  Session* s = nullptr;
  if (const Status status = open_connection(sw, app, args, &s); status != Status::kOk)
    return status;
  if (!(s->flags & kTransportUp)) {  // there was no memory for its fifos
    s->app_end.due = 0;
    free_session(sw, *s);
    return Status::kNoMemory;
  }
  s->app_end.context = context;
  s->app_end.due |= AppEnd::kKnown;
  ConnectionInfo chosen;
  if (ops->info) ops->info(w, s->conn, chosen);
  if (l->endpoints.local_port == 0) l->endpoints.local_port = chosen.endpoints.local_port;
  *out = s->id;
  return Status::kOk;
}

Status send_datagram(Worker& w, SessionId id, const Datagram& d,
                     std::span<const std::byte> data) noexcept {
  SessionWorker& sw = of(w);
  Session* s = open_one(sw, id);
  if (!s || (s->flags & kAppShutdown)) return Status::kNotConnected;
  if (data.size() > kMaxDatagramBytes) return Status::kInvalid;
  const svm::DatagramHeader h = header_of(d, data.size());
  const uint32_t total = kHeader + h.length;
  auto tx = writer_of(*s);
  if (tx.refresh() < total) return Status::kAgain;
  svm::MutableByteView views[kMaxViews];
  const uint32_t n = tx.reserve(total, views);
  std::span<const std::byte> parts[] = {std::as_bytes(std::span(&h, 1)), data};
  std::size_t room = 0, part = 0;
  for (uint32_t i = 0; i < n; ++i) room += views[i].size();
  if (room < total) {
    ++sw.counters[kNoSegmentMemory];
    ask_growth(sw, *s->app, svm::SegmentKind::kAppArena);
    return Status::kAgain;
  }
  for (uint32_t i = 0; i < n && part < 2; ++i)
    for (std::span<std::byte> to = views[i]; !to.empty() && part < 2;) {
      const std::size_t piece = std::min(to.size(), parts[part].size());
      std::memcpy(to.data(), parts[part].data(), piece);
      to = to.subspan(piece);
      parts[part] = parts[part].subspan(piece);
      if (parts[part].empty()) ++part;
    }
  tx.commit(total);
  if (tx.should_notify()) schedule(sw, *s);
  if (!(s->flags & kHoldsChunks)) watch_chunks(sw, *s);
  return Status::kOk;
}

Status receive_datagram(Worker& w, SessionId id, Datagram& from, std::span<std::byte> to,
                        uint32_t* length) noexcept {
  SessionWorker& sw = of(w);
  Session* s = open_one(sw, id);
  if (!s) return Status::kNotConnected;
  auto rx = reader_of(*s);
  const uint32_t ready = rx.refresh();
  if (ready == 0) return Status::kAgain;
  svm::DatagramHeader h;
  if (!take(rx, ready, h, to)) return Status::kAgain;  // written by the daemon: cannot be
  rx.drop(kHeader + h.length);
  (void)rx.should_notify();
  *length = h.length;
  if (h.flags & svm::kDatagramError) return status_of(h.error);
  from = datagram_of(h);
  from.flags &= svm::kDatagramKnownFlags;
  return Status::kOk;
}

uint32_t path_mtu(Worker& w, SessionId id, const IpAddress& to) noexcept {
  SessionWorker& sw = of(w);
  Session* s = open_one(sw, id);
  const TransportOps* ops = s ? ops_of(sw, *s) : nullptr;
  if (!ops || !ops->path_mtu) return 0;
  ConnectionInfo c;
  if (ops->info) ops->info(w, s->conn, c);
  return ops->path_mtu(w, s->conn, to, c.endpoints.fib_index);
}

Status tx_datagram(Worker& w, SessionId id, Datagram& how, std::span<std::byte> to,
                   uint32_t* length) noexcept {
  SessionWorker& sw = of(w);
  Session& s = sw.pool.at(id);
  if (!s.shared) return Status::kAgain;
  auto tx = tx_of(s);
  const uint32_t queued = tx.refresh();
  if (queued == 0 && !tx.violation()) return Status::kAgain;
  svm::DatagramHeader h;
  if (tx.violation() || !take(tx, queued, h, to)) {
    condemn(sw, *s.app);
    return Status::kClosed;
  }
  w.sessions->tx_drop(w, id, kHeader + h.length);
  *length = h.length;
  how = {};
  how.tos = h.tos;
  how.ttl = h.ttl;
  how.flags = h.flags & kDatagramTos;
  if (h.ttl != 0) how.flags |= h.flags & kDatagramTtl;  // none leaves the host with 0
  return Status::kOk;
}

}  // namespace loom::session
