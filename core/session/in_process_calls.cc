// AppCalls: what in-process applications call for their sessions. On the session's worker. An id
// that is not a session the application knows, or one it has closed, is answered by nothing.
#include <cstring>

#include "session/in_process.h"
#include "session/in_process_datagrams.h"
#include "transport/ops_table.h"

namespace loom::session {
namespace {

constexpr TimeNs kStarvedRetry = kMillisecond;

// Null: not one of theirs, or closed already.
Session* known(SessionWorker& sw, SessionId id) noexcept {
  if (!sw.pool.contains(id)) return nullptr;
  Session& s = sw.pool.at(id);
  constexpr uint8_t kLook = AppEnd::kKnown | AppEnd::kClosed;
  const bool is_here = s.state != State::kMigrated && (s.app_end.due & kLook) == AppEnd::kKnown;
  return is_here ? &s : nullptr;
}
// The same with fifos: it was connected or accepted.
Session* opened(SessionWorker& sw, SessionId id) noexcept {
  Session* s = known(sw, id);
  return s && s->shared ? s : nullptr;
}
// The same, and bytes written to it still go somewhere.
Session* sendable(SessionWorker& sw, SessionId id) noexcept {
  Session* s = opened(sw, id);
  return s && (s->flags & kTransportUp) && !(s->flags & kAppShutdown) ? s : nullptr;
}
const TransportOps& transport_of(const SessionWorker& sw, const Session& s) noexcept {
  return *ops_of(sw, s);
}

// Between the endpoints given. `face`: whose place in the network it is from.
Status open(SessionWorker& sw, InProcessApp& app, const App& face, const AppEndpoint& how,
            const Endpoints& ends, void* context, SessionId* out) noexcept {
  if (app.condemned.load(std::memory_order_acquire)) return Status::kClosed;
  ConnectArgs args{.transport = find_transport(*sw.layer, how),
                   .endpoints = ends,
                   .options = how.options,
                   .rx_fifo_size = how.rx_fifo_size,
                   .tx_fifo_size = how.tx_fifo_size};
  const TransportOps* ops = sw.layer->transports.get(args.transport);
  if (!ops || !ops->connect || (ops->tx_kind == TxKind::kDatagram && &face == &app))
    return Status::kUnsupported;
  if (ends.remote_port == 0) return Status::kInvalid;
  if (Listener* to = nullptr; sw.layer->filters->has_egress()) [[unlikely]] {
    const Status status = sw.layer->filters->filter_connect(sw, face, args, true, to);
    if (status != Status::kOk) return status;
    if (to) return Status::kUnsupported;  // redirected, to where only `face` itself could go
  }
  if (&face != &app && (ops->tx_kind == TxKind::kInternal || !face.scope.global))
    return Status::kUnsupported;
  Session* s = nullptr;
  if (const Status status = open_connection(sw, app, args, &s); status != Status::kOk)
    return status;
  s->app_end.context = context;
  s->app_end.due |= AppEnd::kKnown;
  *out = s->id;
  return Status::kOk;
}

Status connect(Worker& w, Application& handle, const AppEndpoint& remote, void* context,
               SessionId* out) noexcept {
  auto& app = static_cast<InProcessApp&>(handle);
  const auto to = full_size_copy(remote, kLeastEndpoint);
  if (!to) return Status::kInvalid;
  Endpoints e;
  e.remote = to->address;
  e.remote_port = to->port;
  e.fib_index = to->fib_index;
  if (!e.remote.is_ip4) e.local = IpAddress(Ip6Address{});
  return open(of(w), app, app, *to, e, context, out);
}

Status connect_for(Worker& w, Application& handle, SessionId upper, const AppEndpoint& lower,
                   const Endpoints& ends, void* context, SessionId* out) noexcept {
  SessionWorker& sw = of(w);
  const auto how = full_size_copy(lower, kLeastEndpoint);
  if (!how || !sw.pool.contains(upper) || !sw.pool.at(upper).app) return Status::kInvalid;
  auto& app = static_cast<InProcessApp&>(handle);
  return open(sw, app, *sw.pool.at(upper).app, *how, ends, context, out);
}

uint64_t owner(Worker& w, SessionId upper) noexcept {
  SessionWorker& sw = of(w);
  const App* const app = sw.pool.contains(upper) ? sw.pool.at(upper).app : nullptr;
  return app ? app->serial : 0;
}

// --- Receive

uint32_t unread(Worker& w, SessionId id) noexcept {
  Session* s = opened(of(w), id);
  return s ? reader_of(*s).refresh() : 0;
}

uint32_t peek(Worker& w, SessionId id, std::span<std::span<const std::byte>> out) noexcept {
  Session* s = opened(of(w), id);
  if (!s) return 0;
  auto rx = reader_of(*s);
  const uint32_t n = rx.refresh();
  return n == 0 ? 0 : rx.segments(0, n, out);
}

void consume(Worker& w, SessionId id, uint32_t n) noexcept {
  SessionWorker& sw = of(w);
  Session* s = opened(sw, id);
  if (!s || n == 0) return;
  auto rx = reader_of(*s);
  rx.drop(std::min(n, rx.available()));
  if (rx.violation()) return condemn(sw, *s->app);
  if (!rx.should_notify() || !(s->flags & kTransportUp)) return;
  const TransportOps& ops = transport_of(sw, *s);
  if (ops.rx_drained) ops.rx_drained(w, s->conn);
}

bool ended(Worker& w, SessionId id) noexcept {
  Session* s = opened(of(w), id);
  return s && (s->flags & kEof);
}

void want_readable(Worker& w, SessionId id, bool wanted) noexcept {
  SessionWorker& sw = of(w);
  Session* s = known(sw, id);
  if (!s) return;
  if (!wanted) {
    s->app_end.due |= AppEnd::kPaused;
    return;
  }
  s->app_end.due &= static_cast<uint8_t>(~AppEnd::kPaused);
  notify(sw, *s, kNotifyRx);
}

// --- Send

// After bytes were put into the fifo.
void sent(SessionWorker& sw, Session& s, svm::AppFifoProducer& tx) noexcept {
  if (tx.should_notify()) schedule(sw, s);
  if (!(s.flags & kHoldsChunks)) watch_chunks(sw, s);
}

// There is room, but no memory; nobody says when there is some.
void retry_later(SessionWorker& sw, Session& s) noexcept {
  sw.starved.push_back(handle_of(sw, s));
  if (!sw.starved_timer.is_running()) sw.worker->timer_start_in(sw.starved_timer, kStarvedRetry);
}

// Less was taken than there is room for.
void starve(SessionWorker& sw, Session& s) noexcept {
  ++sw.counters[kNoSegmentMemory];
  ask_growth(sw, *s.app, svm::SegmentKind::kAppArena);
  if (s.app_end.due & AppEnd::kNoMemory) return;
  s.app_end.due |= AppEnd::kNoMemory;
  if (s.app_end.writable_at != 0) retry_later(sw, s);  // it had asked before
}

uint32_t space(Worker& w, SessionId id) noexcept {
  Session* s = sendable(of(w), id);
  return s ? writer_of(*s).refresh() : 0;
}

uint32_t write(Worker& w, SessionId id, std::span<const std::byte> data) noexcept {
  SessionWorker& sw = of(w);
  Session* s = sendable(sw, id);
  if (!s || data.empty()) return 0;
  auto tx = writer_of(*s);
  const uint32_t n = tx.enqueue(data);
  if (n != 0) sent(sw, *s, tx);
  if (n == data.size())
    s->app_end.due &= static_cast<uint8_t>(~AppEnd::kNoMemory);
  else if (tx.space() != 0)
    starve(sw, *s);
  return n;
}

uint32_t reserve(Worker& w, SessionId id, uint32_t n,
                 std::span<std::span<std::byte>> out) noexcept {
  SessionWorker& sw = of(w);
  Session* s = sendable(sw, id);
  if (!s || n == 0) return 0;
  auto tx = writer_of(*s);
  const uint32_t views = tx.reserve(n, out);
  if (views == 0 && tx.refresh() != 0) starve(sw, *s);
  return views;
}

void commit(Worker& w, SessionId id, uint32_t n) noexcept {
  SessionWorker& sw = of(w);
  Session* s = sendable(sw, id);
  if (!s || n == 0) return;
  auto tx = writer_of(*s);
  tx.commit(n);
  sent(sw, *s, tx);
}

void want_writable(Worker& w, SessionId id, uint32_t bytes) noexcept {
  SessionWorker& sw = of(w);
  Session* s = sendable(sw, id);
  if (!s) return;
  const bool had_asked = std::exchange(s->app_end.writable_at, std::clamp(bytes, 1u, s->tx.size));
  if (!(s->app_end.due & AppEnd::kNoMemory)) {
    if (writer_of(*s).refresh() >= s->app_end.writable_at) notify(sw, *s, kNotifyTx);
  } else if (!had_asked) {
    retry_later(sw, *s);
  }
}

// --- End

void shutdown(Worker& w, SessionId id) noexcept {
  SessionWorker& sw = of(w);
  Session* s = sendable(sw, id);
  if (!s) return;
  s->flags |= kAppShutdown;
  const TransportOps& ops = transport_of(sw, *s);
  if (ops.shutdown) ops.shutdown(w, s->conn);
}

void close(Worker& w, SessionId id) noexcept {
  if (Session* s = known(of(w), id)) end_session(of(w), *s, false);
}

void abort(Worker& w, SessionId id) noexcept {
  if (Session* s = known(of(w), id)) end_session(of(w), *s, true);
}

// --- Properties

Status info(Worker& w, SessionId id, ConnectionInfo& out, uint32_t size) noexcept {
  SessionWorker& sw = of(w);
  Session* s = opened(sw, id);
  if (!s || !(s->flags & kTransportUp)) return Status::kNotConnected;
  const TransportOps& ops = transport_of(sw, *s);
  if (!ops.info) return Status::kUnsupported;
  ConnectionInfo full;
  ops.info(w, s->conn, full);
  std::memcpy(&out, &full, std::min<std::size_t>(size, sizeof full));
  return Status::kOk;
}

Status set_options(Worker& w, SessionId id, const SocketOptionsView& o, uint32_t size) noexcept {
  SessionWorker& sw = of(w);
  Session* s = opened(sw, id);
  if (!s || !(s->flags & kTransportUp)) return Status::kNotConnected;
  const TransportOps& ops = transport_of(sw, *s);
  if (!ops.set_options) return Status::kUnsupported;
  SocketOptionsView full;
  std::memcpy(&full, &o, std::min<std::size_t>(size, sizeof full));
  return ops.set_options(w, s->conn, full);
}

}  // namespace

const AppCalls kAppCalls{
    .struct_size = sizeof(AppCalls),
    .connect = connect,
    .unread = unread,
    .peek = peek,
    .consume = consume,
    .ended = ended,
    .want_readable = want_readable,
    .space = space,
    .write = write,
    .reserve = reserve,
    .commit = commit,
    .want_writable = want_writable,
    .shutdown = shutdown,
    .close = close,
    .abort = abort,
    .info = info,
    .set_options = set_options,
    .connect_for = connect_for,
    .owner = owner,
    .open_at = open_at,
    .send_datagram = send_datagram,
    .receive_datagram = receive_datagram,
    .path_mtu = path_mtu,
};

}  // namespace loom::session
