// The application's side: what the host calls for lower sessions.
#include "tls.h"

namespace loom::tls {
namespace {

Connection& of(void* context) noexcept { return *static_cast<Connection*>(context); }

bool accepted(Worker& w, SessionId, SessionId lower, void** context) noexcept {
  auto& l = *static_cast<Listener*>(*context);
  TlsWorker& t = tls_worker(w);
  if (t.stats[kUnderWay] >= shared().config.max_handshakes ||
      !w.sessions->accept_allowed(w, l.upper, static_cast<uint32_t>(l.under_way[w.index]))) {
    ++t.stats[kRefused];
    return false;
  }
  Connection* c = t.open();
  if (!c) return false;
  c->lower = lower;
  c->is_server = true;
  const auto shown = l.shown.load(std::memory_order_acquire)->shared_from_this();
  c->ssl = SSL_new(shown->ssl.get());
  c->context = shown;
  if (!c->ssl || !attach_bio(*c)) {
    t.forget(*c);
    return false;
  }
  SSL_set_accept_state(c->ssl);
  SSL_set_app_data(c->ssl, c);
  c->reads_early = SSL_get_max_early_data(c->ssl) != 0;
  c->state = Connection::State::kHandshake;
  c->listener = &l;
  ++l.under_way[w.index];
  ++t.stats[kUnderWay];
  start_timer(*c, shared().config.handshake_timeout);
  *context = c;
  return true;
}

void connected(Worker&, SessionId, Status s, void* context) noexcept {
  Connection& c = of(context);
  if (s != Status::kOk) return lost(c, s, ResetReason::kRefused);
  if (c.state == Connection::State::kConnecting) begin_client(c);
}

void readable(Worker&, SessionId, void* context) noexcept {
  Connection& c = of(context);
  switch (c.state) {
    case Connection::State::kConnecting:
      return;
    case Connection::State::kHandshake:
      return handshake(c);
    case Connection::State::kOpen:
      return receive(c);
    case Connection::State::kEnding:
      return discard(c);
  }
}

void writable(Worker& w, SessionId, void* context) noexcept {
  Connection& c = of(context);
  switch (c.state) {
    case Connection::State::kConnecting:
      return;
    case Connection::State::kHandshake:
      return handshake(c);
    case Connection::State::kOpen:
      if (!flush(c)) return;
      w.sessions->tx_schedule(w, c.upper);
      return receive(c);
    case Connection::State::kEnding:
      return end_below(c);
  }
}

void reset(Worker&, SessionId, ResetReason reason, void* context) noexcept {
  Connection& c = of(context);
  receive_rest(c);
  lost(c, Status::kReset, reason);
}

void closed(Worker& w, SessionId, void* context) noexcept {
  Connection& c = of(context);
  lost(c, Status::kReset, ResetReason::kAborted);
  tls_worker(w).forget(c);
}

}  // namespace

const AppOps kLowerOps{
    .name = "tls",
    .accepted = accepted,
    .connected = connected,
    .readable = readable,
    .writable = writable,
    .reset = reset,
    .closed = closed,
    .enabled_again = [] noexcept { renew_application(); },
};

}  // namespace loom::tls
