// The transport's side: what the session layer calls for upper sessions.
#include <openssl/x509.h>

#include <cstring>

#include <hostloom/endpoint_settings.h>

#include "tls.h"

namespace loom::tls {

AppEndpoint lower_endpoint(const SocketOptionsView& options) noexcept {
  const Config& config = shared().config;
  AppEndpoint e;
  std::memset(e.transport, 0, sizeof e.transport);
  std::memcpy(e.transport, config.transport.data(), config.transport.size());
  e.rx_fifo_size = e.tx_fifo_size = config.fifo_size;
  e.options = options;
  return e;
}

namespace {

Connection& at(Worker& w, ConnId conn) noexcept { return tls_worker(w).get(conn); }

// Allocates: OpenSSL's object.
Status prepare(Connection& c, SessionId upper, const Endpoints& ends, uint32_t settings) {
  static const auto kNothing = std::make_shared<const ClientSettings>();
  Shared& s = shared();
  const IpAddress& server = ends.remote;
  ClientSettingsTable::Ptr wanted = kNothing;
  if (settings != 0)
    if (const Status status = s.wishes.find(settings, wanted); status != Status::kOk) return status;
  std::shared_ptr<SSL_CTX> client;
  if (const Status status = find_client(s.clients, wanted->profile, client); status != Status::kOk)
    return status;
  c.ssl = SSL_new(client.get());
  c.context = std::move(client);
  c.wanted = wanted;
  if (!c.ssl || !attach_bio(c)) return Status::kNoMemory;
  if (const auto r = apply_client_settings(c.ssl, *wanted, server); !r) return r.error().code;
  SSL_set_connect_state(c.ssl);
  SSL_set_app_data(c.ssl, &c);
  if (settings != 0 && wanted->digest.empty()) return Status::kOk;  // no memory: nothing is kept
  // What one application may resume another has not been granted; nor is a server of another table
  // the same.
  c.resume_key = server.str();
  for (const uint64_t part :
       {uint64_t{ends.remote_port}, uint64_t{ends.fib_index}, uint64_t{s.generation},
        c.at->w.sessions->apps->owner(c.at->w, upper)})
    c.resume_key += "/" + std::to_string(part);
  c.resume_key += "/" + wanted->digest;
  if (SSL_SESSION* s = c.at->sessions.take(c.resume_key)) {
    (void)SSL_set_session(c.ssl, s);
    SSL_SESSION_free(s);
  }
  return Status::kOk;
}

Status connect(Worker& w, SessionId upper, Endpoints& ends, const SocketOptionsView& options,
               ConnId* out) noexcept {
  Shared& s = shared();
  TlsWorker& t = tls_worker(w);
  if (!s.app) return Status::kRefused;
  if (t.stats[kUnderWay] >= s.config.max_handshakes) return Status::kNoMemory;
  Connection* c = t.open();
  if (!c) return Status::kNoMemory;
  Status status;
  try {
    status = prepare(*c, upper, ends, options.settings);
  } catch (const std::bad_alloc&) {
    status = Status::kNoMemory;
  }
  if (status == Status::kOk)
    status = AppSession::connect_for(w, *s.app, upper, lower_endpoint(options), ends, c, &c->lower);
  if (status != Status::kOk) {
    t.forget(*c);
    return status == Status::kClosed ? Status::kRefused : status;  // we have ended with the layer
  }
  c->upper = upper;
  ++t.stats[kUnderWay];
  start_timer(*c, s.config.handshake_timeout);
  *out = c->self;
  return Status::kOk;
}

void tx_ready(Worker& w, ConnId conn, uint32_t) noexcept { send(at(w, conn)); }
void rx_drained(Worker& w, ConnId conn) noexcept {
  Connection& c = at(w, conn);
  if (c.state == Connection::State::kHandshake) return handshake(c);  // early data
  receive(c);
}

void settings_given(uint32_t number) noexcept {
  Shared& s = shared();
  try {
    if (!s.store) return;
    s.wishes.given(*s.host, number, s.store.get());
    s.reload.settings_given(number);
  } catch (const std::bad_alloc&) {  // it will not be found
  }
}

// The session layer forgets the session when it is said to be closed, which the last byte's leaving
// for below is enough for.
void close(Worker& w, ConnId conn, bool unread) noexcept {
  Connection& c = at(w, conn);
  c.shut = c.closed = true;
  if (!unread) {
    if (c.state == Connection::State::kOpen) {
      w.timer_stop(c.timer);  // nobody waits for memory any more
      receive(c);
    }
    if (c.upper != kNoSession) w.sessions->tx_schedule(w, c.upper);
    return;
  }
  const SessionId upper = std::exchange(c.upper, kNoSession);
  c.below().abort();  // the peer must not believe that its bytes were read (RFC 2525)
  w.sessions->closed(w, upper);
}

void abort(Worker& w, ConnId conn) noexcept {
  Connection& c = at(w, conn);
  c.upper = kNoSession;
  take_back(c);  // `closed` is on its way from below, and a step may be back before
  c.below().abort();
}

Status set_options(Worker& w, ConnId conn, const SocketOptionsView& o) noexcept {
  return at(w, conn).below().set_options(o);
}

void info(Worker& w, ConnId conn, ConnectionInfo& i) noexcept { (void)at(w, conn).below().info(i); }

}  // namespace

void describe(const SSL* ssl, std::string& out) {
  if (!ssl) {  // a thread of the pool has it
    out += "  tls: handshake\n";
    return;
  }
  out += std::string("  tls: ") + SSL_get_version(ssl) + " " + SSL_get_cipher_name(ssl);
  if (SSL_session_reused(ssl)) out += " resumed";
  if (const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name))
    out += std::string(" for ") + name;
  out += SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN ? " peer has closed\n" : "\n";
}

Status property(const SSL* ssl, uint32_t which, std::string& out) {
  if (!ssl) return Status::kNotConnected;
  const auto number = [&](uint32_t n) { out.assign(reinterpret_cast<const char*>(&n), sizeof n); };
  switch (static_cast<SessionProperty>(which)) {
    case SessionProperty::kVersion:
      out = SSL_get_version(ssl);
      return Status::kOk;
    case SessionProperty::kCipher:
      out = SSL_get_cipher_name(ssl);
      return Status::kOk;
    case SessionProperty::kAlpn: {
      const unsigned char* name = nullptr;
      unsigned n = 0;
      SSL_get0_alpn_selected(ssl, &name, &n);
      out.assign(reinterpret_cast<const char*>(name), n);
      return Status::kOk;
    }
    case SessionProperty::kServerName:
      if (const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)) out = name;
      return Status::kOk;
    case SessionProperty::kPeerCertificate: {
      X509* const x = SSL_get0_peer_certificate(ssl);
      const int n = x ? i2d_X509(x, nullptr) : 0;
      if (n <= 0) return Status::kOk;
      out.resize(static_cast<std::size_t>(n));
      auto* to = reinterpret_cast<unsigned char*>(out.data());
      (void)i2d_X509(x, &to);
      return Status::kOk;
    }
    case SessionProperty::kIsResumed:
      number(SSL_session_reused(ssl));
      return Status::kOk;
    case SessionProperty::kEarlyData: {
      const bool has_some = SSL_get_early_data_status(ssl) == SSL_EARLY_DATA_ACCEPTED;
      number(!has_some ? 0 : SSL_is_init_finished(ssl) ? 2 : 1);
      return Status::kOk;
    }
    case SessionProperty::kIsVerified:
      number(SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE && SSL_get0_peer_certificate(ssl) &&
             SSL_get_verify_result(ssl) == X509_V_OK);
      return Status::kOk;
  }
  return Status::kUnsupported;
}

constinit const TransportOps kTransportOps = [] {
  TransportOps o = common_ops<Connection, at>("tls", kProto);
  o.connect = connect;
  o.rx_drained = rx_drained;
  o.close = close;
  o.abort = abort;
  o.set_options = set_options;
  o.info = info;
  o.open_listener = open_listener;
  o.close_listener = close_listener;
  o.tx_ready = tx_ready;
  o.settings_given = settings_given;
  o.settings_gone = [](uint32_t number) noexcept {
    shared().wishes.gone(number);
    shared().reload.settings_gone(number);
  };
  o.use_settings = use_settings;
  return o;
}();

}  // namespace loom::tls
