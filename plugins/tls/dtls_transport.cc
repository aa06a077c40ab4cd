// The transport's side of DTLS: what the session layer calls for upper sessions.
#include "dtls.h"
#include "tls.h"

namespace loom::tls::dtls {
namespace {

Connection& at(Worker& w, ConnId conn) noexcept { return dtls_worker(w).get(conn); }

// Allocates: OpenSSL's object.
Status prepare(Connection& c, const IpAddress& server, uint32_t settings) {
  static const ClientSettings kNothing;
  ClientSettingsTable::Ptr wanted;
  if (settings != 0)
    if (const Status s = tls::shared().wishes.find(settings, wanted); s != Status::kOk) return s;
  std::shared_ptr<SSL_CTX> client;
  if (const Status s = find_client(shared().clients, wanted ? wanted->profile : "", client);
      s != Status::kOk)
    return s;
  c.ssl = SSL_new(client.get());
  c.context = std::move(client);
  c.wanted = wanted;
  if (!c.ssl || !attach_wire(c.ssl, c.wire)) return Status::kNoMemory;
  if (const auto r = apply_client_settings(c.ssl, wanted ? *wanted : kNothing, server); !r)
    return r.error().code;
  SSL_set_connect_state(c.ssl);
  return Status::kOk;
}

Status connect(Worker& w, SessionId upper, Endpoints& ends, const SocketOptionsView& options,
               ConnId* out) noexcept {
  Shared& s = shared();
  DtlsWorker& t = dtls_worker(w);
  if (!s.app) return Status::kRefused;
  if (t.stats[kUnderWay] >= tls::shared().config.max_handshakes) return Status::kNoMemory;
  Connection* const c = t.open();
  if (!c) return Status::kNoMemory;
  c->below_context.connection = c;
  Status status = prepare(*c, ends.remote, options.settings);
  if (status == Status::kOk)
    status = AppSession::connect_for(w, *s.app, upper, lower_endpoint(options), ends,
                                     &c->below_context, &c->wire.lower);
  if (status != Status::kOk) {
    t.give_back(*c);
    return status == Status::kClosed ? Status::kRefused : status;  // we have ended with the layer
  }
  c->upper = upper;
  start_deadline(*c);
  *out = c->self;
  return Status::kOk;
}

void tx_ready(Worker& w, ConnId conn, uint32_t) noexcept {
  Connection& c = at(w, conn);
  send(c);
  settle(c);
}

// What is queued is sent before the session layer hears of its end. Datagrams that were not read
// are lost, as those on their way are.
void close(Worker& w, ConnId conn, bool) noexcept {
  at(w, conn).closed = true;
  kTransportOps.shutdown(w, conn);
}

void abort(Worker& w, ConnId conn) noexcept {
  Connection& c = at(w, conn);
  c.upper = kNoSession;
  finish(c);
  settle(c);
}

Status set_options(Worker& w, ConnId conn, const SocketOptionsView& o) noexcept {
  Connection& c = at(w, conn);
  if (!c.is_server) return c.below().set_options(lower_endpoint(o).options);
  // The session below is all peers': what is this one's goes with its datagrams.
  c.wire.to.tos = o.tos_of(c.wire.to.ends.remote.is_ip4);
  c.wire.to.flags |= kDatagramTos;
  return Status::kOk;
}

void info(Worker& w, ConnId conn, ConnectionInfo& i) noexcept {
  Connection& c = at(w, conn);
  if (!c.is_server) (void)c.below().info(i);
  if (c.is_server) i.endpoints = c.wire.to.ends;
  i.state = c.state == Connection::State::kOpen ? 1 : 2;
  i.snd_mss = most_payload(c);
  i.pmtu = c.mtu;
}

}  // namespace

constinit const TransportOps kTransportOps = [] {
  TransportOps o = common_ops<Connection, at>("dtls", kProto);
  o.connect = connect;
  o.close = close;
  o.abort = abort;
  o.set_options = set_options;
  o.info = info;
  o.open_listener = open_listener;
  o.close_listener = close_listener;
  o.tx_ready = tx_ready;
  o.use_settings = use_settings;
  return o;
}();

}  // namespace loom::tls::dtls
