// The transport's table: what the session layer asks of us. All of it on the connection's worker.
#include <hostloom/net.h>
#include <hostloom/transport.h>
#include <hostloom/wire.h>

#include <algorithm>

#include "connection.h"

namespace line_echo {

Connection* LineWorker::open(const Endpoints& ends) {
  RouteInfo route;
  if (w.net->route(w, ends.remote, ends.fib_index, &route) != Status::kOk) return nullptr;
  if (free.empty()) {
    free.push_back(static_cast<ConnId>(connections.size()));
    connections.emplace_back();
  }
  Connection& c = connections[free.back()];
  c = Connection{};
  c.id = free.back();
  free.pop_back();
  c.in_use = true;
  c.ends = ends;
  constexpr uint32_t kHeaders = sizeof(Ip4Header) + sizeof(Header);
  c.most_text = static_cast<uint16_t>(std::clamp(route.mtu, 576u, 9000u) - kHeaders);
  return &c;
}

void LineWorker::forget(Connection& c) noexcept {
  w.timer_stop(c.timer);
  w.sessions->flow_del(w, c.ends, kIpProtocol);
  c.in_use = false;
  free.push_back(c.id);
}

namespace {

Status connect(Worker& w, SessionId session, Endpoints& ends, const SocketOptionsView&,
               ConnId* out) noexcept {
  LineWorker& l = line_worker(w);
  if (!ends.remote.is_ip4) return Status::kUnsupported;
  Connection* c = l.open(ends);
  if (!c) return Status::kUnreachable;
  if (const Status s = w.sessions->flow_open(w, ends, kIpProtocol, c->id); s != Status::kOk) {
    c->in_use = false;  // it has no flow: nothing for forget() to remove
    l.free.push_back(c->id);
    return s;
  }
  c->ends = ends;
  c->session = session;
  c->expected = 1;
  *out = c->id;
  send_numbered(l, *c, kOpen, nullptr);
  return Status::kOk;
}

Status listen(Worker& w, SessionId session, const Endpoints& ends, const SocketOptionsView&,
              ConnId* out) noexcept {
  LineWorker& l = line_worker(w);
  if (!ends.local.is_ip4) return Status::kUnsupported;
  auto at = std::find_if(l.listeners.begin(), l.listeners.end(),
                         [](const Listener& x) { return x.session == kNoSession; });
  if (at == l.listeners.end()) at = l.listeners.emplace(at);
  at->session = session;
  *out = static_cast<ConnId>(at - l.listeners.begin());
  return Status::kOk;
}

void unlisten(Worker& w, ConnId listener) noexcept {
  line_worker(w).listeners[listener].session = kNoSession;
}

// One packet at a time, as much text as fits into it.
SendWindow send_window(Worker& w, ConnId conn, uint32_t queued) noexcept {
  const Connection& c = *line_worker(w).find(conn);
  if (!c.is_open || c.pending != 0) return {};
  return {.budget = std::min<uint32_t>(queued, c.most_text), .segment = c.most_text, .offset = 0};
}

void push_headers(Worker& w, ConnId conn, std::span<Buffer* const> chains) noexcept {
  LineWorker& l = line_worker(w);
  LOOM_DCHECK(chains.size() == 1);  // send_window allows no more
  send_numbered(l, *l.find(conn), kData, chains[0]);
}

void shutdown(Worker& w, ConnId conn) noexcept {
  LineWorker& l = line_worker(w);
  Connection& c = *l.find(conn);
  c.want_close = true;
  send_next(l, c);
}

void abort(Worker& w, ConnId conn) noexcept {
  LineWorker& l = line_worker(w);
  Connection& c = *l.find(conn);
  send_answer(l, c.ends, kReset, c.next_sequence);
  l.forget(c);
}

void close(Worker& w, ConnId conn, bool unread) noexcept {
  LineWorker& l = line_worker(w);
  Connection& c = *l.find(conn);
  c.app_closed = true;
  if (!unread) {
    shutdown(w, conn);
    return finish_if_done(l, c);  // when it had been shut down before
  }
  const SessionId session = c.session;
  abort(w, conn);  // the peer must not believe that its lines were read
  w.sessions->closed(w, session);
}

void info(Worker& w, ConnId conn, ConnectionInfo& i) noexcept {
  const Connection& c = *line_worker(w).find(conn);
  constexpr uint8_t kEstablished = 1, kSynSent = 2, kFinWait2 = 5, kCloseWait = 8;
  i.endpoints = c.ends;
  i.state = !c.is_open      ? kSynSent
            : c.peer_closed ? kCloseWait
            : c.close_acked ? kFinWait2
                            : kEstablished;
  i.snd_mss = i.rcv_mss = c.most_text;
  i.in_flight = c.pending_text;
  i.unacked = c.pending != 0;
  i.bytes_acked = c.bytes_acked;
  i.bytes_received = c.bytes_received;
}

void describe(Worker& w, ConnId conn, std::string& out) noexcept {
  const Connection& c = *line_worker(w).find(conn);
  out += "  line-echo: next " + std::to_string(c.next_sequence) + " expected " +
         std::to_string(c.expected) + (c.pending ? " waits for an acknowledgement" : "") + "\n";
}

}  // namespace

const TransportOps kTransport{
    .name = "line-echo",
    .proto = kTransportProto,
    .ip_protocol = kIpProtocol,
    .tx_kind = TxKind::kPeek,
    .connect = connect,
    .listen = listen,
    .unlisten = unlisten,
    .send_window = send_window,
    .push_headers = push_headers,
    .shutdown = shutdown,
    .close = close,
    .abort = abort,
    .info = info,
    .describe = describe,
};

}  // namespace line_echo
