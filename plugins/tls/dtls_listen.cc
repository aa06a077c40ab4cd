// Listeners. Opened and closed on the control thread; ClientHellos and the table of peers are of
// the worker where the lower session is.
#include <openssl/bio.h>
#include <openssl/err.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "dtls.h"
#include "tls.h"

namespace loom::tls::dtls {
namespace {

Listener& of(SSL* ssl) noexcept { return *static_cast<Listener*>(SSL_get_app_data(ssl)); }

int make_cookie(SSL* ssl, unsigned char* cookie, unsigned* size) noexcept {
  Listener& l = of(ssl);
  CookieKeys::Cookie made;
  if (!l.cookies.make(l.wire.w->now, l.wire.to.ends, made)) return 0;
  std::memcpy(cookie, made.data(), made.size());
  *size = made.size();
  return 1;
}

int check_cookie(SSL* ssl, const unsigned char* cookie, unsigned size) noexcept {
  Listener& l = of(ssl);
  return l.cookies.check(l.wire.w->now, l.wire.to.ends, {cookie, size});
}

// The SSL that answers ClientHellos until one of them shows a cookie. False: no memory.
bool renew_hello(Listener& l) noexcept {
  l.hello = SSL_new(l.context->ssl.get());
  if (!l.hello || !attach_wire(l.hello, l.wire) || SSL_set_app_data(l.hello, &l) != 1) {
    SSL_free(std::exchange(l.hello, nullptr));
    return false;
  }
  SSL_set_accept_state(l.hello);
  SSL_set_options(l.hello, SSL_OP_COOKIE_EXCHANGE | SSL_OP_NO_QUERY_MTU);
  SSL_set_mtu(l.hello, kLeastMtu - 48);
  return true;
}

// A record of epoch 0 with a handshake's ClientHello, unfragmented (RFC 6347 sections 4.1, 4.2.2).
bool is_hello(std::span<const std::byte> d) noexcept {
  return d.size() >= kHelloBytes + 32 && d[0] == std::byte{22} && d[3] == std::byte{0} &&
         d[4] == std::byte{0} && d[13] == std::byte{1};
}

bool has_random(const Connection& c, std::span<const std::byte> hello) noexcept {
  return std::memcmp(c.random.data(), hello.data() + kHelloBytes, c.random.size()) == 0;
}

// A connection that goes on where the hello's SSL is, whose cookie was good. Null: no memory.
Connection* enter(Listener& l, const PeerKey& key, SSL* ssl,
                  std::span<const std::byte> hello) noexcept {
  DtlsWorker& t = dtls_worker(*l.wire.w);
  Connection* const c = t.open();
  if (!c) return nullptr;
  try {
    l.waiting.reserve(l.n_connections + 1);
    l.peers[key].next = c->self;
  } catch (const std::bad_alloc&) {
    t.give_back(*c);
    return nullptr;
  }
  ++l.n_connections;
  c->ssl = ssl;
  c->context = l.context;
  c->is_server = true;
  c->listener = &l;
  c->wire.lower = l.wire.lower;
  c->wire.to = l.wire.to;
  std::memcpy(c->random.data(), hello.data() + kHelloBytes, c->random.size());
  move_wire(ssl, c->wire);
  SSL_clear_options(ssl, SSL_OP_COOKIE_EXCHANGE);
  start_deadline(*c);
  return c;
}

// Answers the ClientHello in the wire. 1: its cookie is good; below 0: `hello` is of no use any
// more.
int look_at_hello(Listener& l) noexcept {
  if (!l.hello && !renew_hello(l)) return 0;
  BIO_ADDR* const nobody = BIO_ADDR_new();
  ERR_clear_error();
  const int heard = nobody ? DTLSv1_listen(l.hello, nobody) : 0;
  ERR_clear_error();
  BIO_ADDR_free(nobody);
  return heard;
}

// Nothing is kept for a peer before its cookie is good. Then it is a connection, with this datagram
// as its first one.
void greet(Listener& l, const PeerKey& key, std::span<const std::byte> datagram) noexcept {
  Worker& w = *l.wire.w;
  DtlsWorker& t = dtls_worker(w);
  ++t.stats[kHellos];
  l.wire.in = datagram;
  const int heard = tls_worker(w).slice.measure([&l] { return look_at_hello(l); });
  const auto left = std::exchange(l.wire.in, {});
  if (heard != 1) {
    if (heard < 0) SSL_free(std::exchange(l.hello, nullptr));
    return;
  }
  SSL* const ssl = std::exchange(l.hello, nullptr);
  // The peer is there and has begun anew: a handshake that it began before is not what it wants.
  if (const auto found = l.peers.find(key);
      found != l.peers.end() && found->second.next != kNoConn) {
    Connection& older = t.get(found->second.next);
    finish(older);
    settle(older);
  }
  const bool is_allowed =
      t.stats[kUnderWay] < tls::shared().config.max_handshakes &&
      w.sessions->accept_allowed(w, l.upper, static_cast<uint32_t>(l.under_way));
  Connection* const c = is_allowed ? enter(l, key, ssl, datagram) : nullptr;
  if (!c) {
    ++t.stats[kRefused];
    return SSL_free(ssl);
  }
  c->wire.in = left;
  begin(*c, l.wire.to);
  c->wire.in = {};
  settle(*c);
}

void give(DtlsWorker& t, ConnId id, const Datagram& from,
          std::span<const std::byte> datagram) noexcept {
  if (id == kNoConn) return;
  Connection& c = t.get(id);
  input(c, from, datagram);
  settle(c);
}

// On the listener's worker.
Status bind(Worker& w, Listener& l) noexcept {
  if (!shared().app) return Status::kRefused;
  l.wire.w = &w;
  l.below_context.listener = &l;
  const Status status = AppSession::open_at(w, *shared().app, l.upper, lower_endpoint(l.options),
                                            &l.below_context, &l.wire.lower);
  if (status == Status::kOk) l.lower = w.sessions->handle(w, l.wire.lower);
  return status;
}

// With the last connection, when nobody new is to come.
void close_unless_used(Listener& l) noexcept {
  if (l.n_connections == 0 && (l.closing || l.rests)) AppSession(*l.wire.w, l.wire.lower).close();
}

void bind_again(void* number) noexcept;

// To the control thread, where listeners have numbers: this one may be gone when it comes to it.
void ask_to_bind(Listener& l) noexcept {
  l.wire.w->post_to_control(bind_again, reinterpret_cast<void*>(uintptr_t{l.self}));
}

// Control thread. It is tried for as long as somebody listens, less and less often.
void bind_again(void* number) noexcept {
  Shared& s = shared();
  const auto found = s.listeners.find(static_cast<ConnId>(reinterpret_cast<uintptr_t>(number)));
  if (found == s.listeners.end() || s.draining || !s.app) return;
  Listener& l = *found->second;
  const TimeNs before = l.wait;
  Status status = Status::kOk;
  s.host->run_on_worker(l.worker, [&](Worker& w) {
    if (l.wire.lower != kNoSession) return;
    status = bind(w, l);
    const bool is_good = status == Status::kOk;
    ++dtls_worker(w).stats[is_good ? kBoundAgain : kBindsFailed];
    l.wait = is_good ? 0 : std::clamp(2 * before, kLeastWait, kMostWait);
    if (is_good) return;
    l.again.fired = [](Worker&, Timer& t) noexcept {
      ask_to_bind(LOOM_TIMER_OWNER(Listener, again, t));
    };
    w.timer_start_in(l.again, l.wait);
  });
  if (status != Status::kOk && before == 0)
    s.host->log(LogLevel::kError, "tls",
                std::string("a listener of DTLS hears nobody, as it cannot have its address and "
                            "port again: ") +
                    status_name(status));
  if (status == Status::kOk && before != 0)
    s.host->log(LogLevel::kNotice, "tls", "a listener of DTLS has its address and port again");
}

// Ends its handshakes, or all of its connections.
void end_connections(Listener& l, bool all) noexcept {
  DtlsWorker& t = dtls_worker(*l.wire.w);
  for (std::size_t i = 0; i < t.connections.size() && l.n_connections != 0; ++i) {
    Connection* const c = t.connections[i].get();
    if (!c || c->listener != &l || (!all && !c->counted)) continue;
    fail(*c, Status::kReset, ResetReason::kAborted);
    settle(*c);
  }
}

// False: it has to be freed by the caller, as no lower session is there to say when.
bool unbind(Listener& l) noexcept {
  l.closing = true;
  l.wire.w->timer_stop(l.again);
  end_connections(l, false);
  if (l.wire.lower != kNoSession) {
    close_unless_used(l);
    return true;
  }
  l.wire.w->timer_stop(l.next_round);
  return false;
}

}  // namespace

AppEndpoint lower_endpoint(const SocketOptionsView& options) noexcept {
  const Config& config = tls::shared().config;
  AppEndpoint e;
  std::memset(e.transport, 0, sizeof e.transport);
  std::memcpy(e.transport, config.datagram_transport.data(), config.datagram_transport.size());
  e.rx_fifo_size = e.tx_fifo_size = config.fifo_size;
  e.options = options;
  e.options.ip4_path_mtu = e.options.ip6_path_mtu = PathMtu::kDo;  // never in fragments
  e.options.ip4_errors = e.options.ip6_errors = e.options.gro = false;
  // One interface alone (SocketOptions::interface) is not looked after here.
  e.options.interface = kNoIndex;
  e.options.no_check6_rx = false;
  return e;
}

PeerKey key_of(const Endpoints& e) noexcept {
  PeerKey key;
  std::memcpy(key.remote.data(), e.remote.bits.bytes.data(), key.remote.size());
  std::memcpy(key.local.data(), e.local.bits.bytes.data(), key.local.size());
  key.port = e.remote_port;
  return key;
}

bool take(Listener& l, const Datagram& from, std::span<const std::byte> datagram,
          bool may_cost) noexcept {
  DtlsWorker& t = dtls_worker(*l.wire.w);
  l.wire.to = from;
  l.wire.to.flags = kDatagramRemote | kDatagramLocal;
  const PeerKey key = key_of(from.ends);
  const auto found = l.peers.find(key);
  const Peer peer = found == l.peers.end() ? Peer{} : found->second;
  if (is_hello(datagram)) {
    // One of an open connection is old.
    if (peer.current != kNoConn && has_random(t.get(peer.current), datagram)) return true;
    const bool is_known = peer.next != kNoConn && has_random(t.get(peer.next), datagram);
    if (!is_known && (l.closing || l.rests)) {
      ++t.stats[kHellosDropped];
      return true;
    }
    if (!may_cost) return false;
    if (is_known)  // that a handshake began with is that one's, sent again
      give(t, peer.next, from, datagram);
    else
      greet(l, key, datagram);
    return true;
  }
  if (found == l.peers.end()) {
    ++t.stats[kHellosDropped];
    return true;
  }
  if (peer.next != kNoConn && !may_cost) return false;
  // Which of the two it is for its keys say: the other one drops it.
  give(t, peer.next, from, datagram);
  if (const auto now = l.peers.find(key);
      now != l.peers.end() && peer.current != kNoConn && now->second.current == peer.current)
    give(t, peer.current, from, datagram);
  return true;
}

void lower_ended(Listener& l) noexcept {
  l.wire.lower = kNoSession;
  l.put_off.clear();
  l.wire.w->timer_stop(l.next_round);
  end_connections(l, true);
  if (l.closing)
    delete &l;
  else if (!l.rests)
    ask_to_bind(l);
}

void drain(bool begins) noexcept {
  Shared& s = shared();
  s.draining = begins;
  for (const auto& [id, l] : s.listeners) {
    bool has_none = false;
    s.host->run_on_worker(l->worker, [&, l = l](Worker& w) {
      l->rests = begins;
      w.timer_stop(l->again);
      has_none = l->wire.lower == kNoSession;
      if (!has_none) close_unless_used(*l);
    });
    if (!begins && has_none) bind_again(reinterpret_cast<void*>(uintptr_t{id}));
  }
}

void wait_for_room(Connection& c) noexcept {
  if (c.listener && !c.waits) c.listener->waiting.push_back(c.self);
  c.waits = true;
  c.below().want_writable(kRoom);
}

void room_again(Listener& l) noexcept {
  Worker& w = *l.wire.w;
  for (const ConnId id : l.waiting) {
    Connection& c = dtls_worker(w).get(id);
    c.waits = false;
    if (c.upper != kNoSession) w.sessions->tx_schedule(w, c.upper);
  }
  l.waiting.clear();
}

void leave(Connection& c) noexcept {
  Listener& l = *c.listener;
  if (c.waits) std::erase(l.waiting, c.self);
  if (const auto found = l.peers.find(key_of(c.wire.to.ends)); found != l.peers.end()) {
    Peer& p = found->second;
    if (p.current == c.self) p.current = kNoConn;
    if (p.next == c.self) p.next = kNoConn;
    if (p.current == kNoConn && p.next == kNoConn) l.peers.erase(found);
  }
  --l.n_connections;
  close_unless_used(l);
}

// RFC 6347 section 4.2.8: after a correct Finished the association before it is abandoned.
void settle_in(Connection& c) noexcept {
  Peer& p = c.listener->peers[key_of(c.wire.to.ends)];
  const ConnId old = std::exchange(p.current, c.self);
  p.next = kNoConn;
  if (old == kNoConn || old == c.self) return;
  Connection& before = c.at->get(old);
  before.said_close = true;  // what it would say is not for the one that is there now
  fail(before, Status::kReset, ResetReason::kPeerReset);
  settle(before);
}

Status open_listener(SessionId upper, const SocketOptionsView& options, ConnId* out) noexcept {
  Shared& s = shared();
  Host& host = *s.host;
  try {
    auto l = std::make_unique<Listener>();
    l->upper = upper;
    l->options = options;
    l->options.reuseport = l->options.reuseaddr = false;
    l->options.congestion = "";
    l->options.settings = 0;
    ListenerParts parts;
    Status status = make_parts(options.settings, make_context, " for DTLS", parts);
    if (status != Status::kOk) return status;
    l->context = std::move(parts.context);
    l->settings = std::move(parts.settings);
    start_threads();
    const ConnId id = s.next_listener++;
    l->self = id;
    l->worker = id % host.n_workers();  // each on another one
    s.listeners[id] = l.get();
    host.run_on_worker(l->worker, [&](Worker& w) {
      status = bind(w, *l);
      l->rests = s.draining;  // it had to show that it can have the port
      if (status == Status::kOk) close_unless_used(*l);
    });
    if (status != Status::kOk) {
      s.listeners.erase(id);
      return status;
    }
    (void)l.release();
    *out = id;
    return Status::kOk;
  } catch (const std::bad_alloc&) {
    return Status::kNoMemory;
  }
}

Status use_settings(ConnId id, uint32_t number) noexcept {
  Shared& s = shared();
  const auto found = s.listeners.find(id);
  if (found == s.listeners.end()) return Status::kNotFound;
  try {
    ListenerParts parts;
    if (const Status made = make_parts(number, make_context, " for DTLS", parts);
        made != Status::kOk)
      return made;
    s.host->with_barrier([&] { change(*found->second, parts.context); });
    retired().take(std::move(parts.context));
    std::swap(found->second->settings, parts.settings);
    tls::shared().reload.datagram_listener_changed(id);
    return Status::kOk;
  } catch (const std::bad_alloc&) {
    return Status::kNoMemory;
  }
}

Result<ServerContextPtr> make_context(const Settings& settings, X509_STORE* store) {
  auto context = make_server_context(datagram_config(), settings, store);
  if (!context) return context;
  SSL_CTX* const raw = (*context)->ssl.get();
  SSL_CTX_set_cookie_generate_cb(raw, make_cookie);
  SSL_CTX_set_cookie_verify_cb(raw, check_cookie);
  return context;
}

void change(Listener& l, ServerContextPtr& context) noexcept {
  std::swap(l.context, context);
  SSL_free(std::exchange(l.hello, nullptr));
}

void close_listener(ConnId id) noexcept {
  Shared& s = shared();
  const auto found = s.listeners.find(id);
  if (found == s.listeners.end()) return;
  Listener* const l = found->second;
  s.listeners.erase(found);
  bool goes_on = false;  // then it is its worker's
  ServerContextPtr context;
  s.host->run_on_worker(l->worker, [&](Worker&) {
    SSL_free(std::exchange(l->hello, nullptr));  // nobody is greeted any more
    context = std::move(l->context);
    goes_on = unbind(*l);
  });
  retired().take(std::move(context));
  if (!goes_on) delete l;
}

}  // namespace loom::tls::dtls
