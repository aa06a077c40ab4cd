// The application's side of DTLS: what the host calls for lower sessions, a client's or a
// listener's.
#include "dtls.h"
#include "tls.h"

namespace loom::tls::dtls {
namespace {

using State = Connection::State;

Below& of(void* context) noexcept { return *static_cast<Below*>(context); }

// What the network says about datagrams that were sent.
void note_error(const Below& b, Status status) noexcept {
  if (b.listener) return;  // of whichever of its connections
  Connection& c = *b.connection;
  if (status == Status::kInvalid) {  // a flight is sent again as the path takes it; of data whoever sent it hears
    c.mtu = 0;
    if (c.state == State::kOpen && c.upper != kNoSession)
      c.at->w.sessions->soft_error(c.at->w, c.upper, ResetReason::kMessageSize);
  } else if (c.state == State::kHandshake) {
    fail(c, status, ResetReason::kRefused);
    settle(c);
  } else if (c.state == State::kOpen && c.upper != kNoSession) {
    Worker& w = c.at->w;
    w.sessions->soft_error(
        w, c.upper, status == Status::kRefused ? ResetReason::kRefused : ResetReason::kUnreachable);
  }
}

void connected(Worker&, SessionId, Status status, void* context) noexcept {
  Connection* const c = of(context).connection;
  if (!c || status != Status::kOk || c->state != State::kConnecting) return;  // `closed` follows
  begin(*c);
  settle(*c);
}

void readable(Worker& w, SessionId lower, void* context) noexcept {
  const Below& b = of(context);
  DtlsWorker& t = dtls_worker(w);
  AppSession session(w, lower);
  HandshakeSlice& slice = tls_worker(w).slice;
  for (uint32_t i = 0; i < kMostPerCall; ++i) {
    // One in each round there is in any case.
    const bool may_cost = b.listener || b.connection->state == State::kHandshake;
    if (i != 0 && may_cost && slice.is_used_up(w.now)) break;
    Datagram from;
    uint32_t n = 0;
    const Status status = session.receive_datagram(from, t.wire, &n);
    if (status == Status::kAgain || status == Status::kNotConnected) return;
    if (status != Status::kOk) {
      note_error(b, status);
      continue;
    }
    const auto datagram = std::span<const std::byte>(t.wire).first(n);
    if (b.listener) {
      take(*b.listener, from, datagram);
    } else {
      input(*b.connection, datagram);
      settle(*b.connection);
    }
  }
  session.want_readable();  // the others' turn first
}

void writable(Worker& w, SessionId, void* context) noexcept {
  if (of(context).listener) return room_again(*of(context).listener);
  Connection& c = *of(context).connection;
  c.waits = false;
  if (c.upper != kNoSession) w.sessions->tx_schedule(w, c.upper);
}

void closed(Worker&, SessionId, void* context) noexcept {
  if (of(context).listener) return lower_ended(*of(context).listener);
  Connection& c = *of(context).connection;
  fail(c, Status::kReset, ResetReason::kAborted);
  c.at->forget(c);
}

}  // namespace

const AppOps kLowerOps{
    .name = "dtls",
    .connected = connected,
    .readable = readable,
    .writable = writable,
    .closed = closed,
    .enabled_again = [] noexcept { renew(shared().app, kLowerOps); },
};

}  // namespace loom::tls::dtls
