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
  if (status == Status::kInvalid) {  // a flight is sent again as the path takes it; of data whoever
                                     // sent it hears
    c.mtu = 0;
    if (c.state == State::kOpen && c.upper != kNoSession)
      c.at->w.sessions->soft_error(c.at->w, c.upper, ResetReason::kMessageSize);
  } else if (c.state == State::kHandshake) {
    if (status != Status::kRefused) return;  // a flight that is sent again may come through
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
  begin(*c, {});
  settle(*c);
}

// What was put off in a round before, as far as this one's slice goes. One there is in any case.
// Datagrams.
uint32_t take_put_off(DtlsWorker& t, Listener& l) noexcept {
  HandshakeSlice& slice = tls_worker(t.w).slice;
  uint32_t n = 0;
  // Asked before the first, too: what that takes is this round's.
  for (; !l.put_off.empty() && ((!slice.is_used_up(t.w.now) && n < kMostPerCall) || n == 0); ++n) {
    Datagram from;
    const std::size_t size = l.put_off.pop(from, t.wire);
    (void)take(l, from, std::span<const std::byte>(t.wire).first(size), true);
  }
  return n;
}

void next_round(Worker& w, Timer& timer) noexcept {
  Listener& l = LOOM_TIMER_OWNER(Listener, next_round, timer);
  (void)take_put_off(dtls_worker(w), l);
  if (!l.put_off.empty()) w.timer_start_in(timer, 1);
}

// Of handshakes, one in each round there is in any case; what there is no time for does not hold up
// those that are open.
void hear(Listener& l, const Datagram& from, std::span<const std::byte> datagram,
          bool is_first) noexcept {
  Worker& w = *l.wire.w;
  DtlsWorker& t = dtls_worker(w);
  const bool has_time = !tls_worker(w).slice.is_used_up(w.now);
  const bool may_cost = l.put_off.empty() && (is_first || has_time);
  if (take(l, from, datagram, may_cost)) return;
  if (!l.put_off.push(from, datagram)) {
    ++t.stats[kPutOffDropped];
    return;
  }
  ++t.stats[kPutOff];
  l.next_round.fired = next_round;
  if (!l.next_round.is_running()) w.timer_start_in(l.next_round, 1);
}

void readable(Worker& w, SessionId lower, void* context) noexcept {
  const Below& b = of(context);
  DtlsWorker& t = dtls_worker(w);
  AppSession session(w, lower);
  HandshakeSlice& slice = tls_worker(w).slice;
  for (uint32_t i = 0; i < kMostPerCall; ++i) {
    const bool is_first = i == 0;
    if (b.connection && is_away(*b.connection)) return;  // what comes waits in the fifo
    if (!is_first && b.connection && b.connection->state == State::kHandshake &&
        slice.is_used_up(w.now))
      break;
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
      hear(*b.listener, from, datagram, is_first);
    } else {
      input(*b.connection, from, datagram);
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
  c.at->give_back(c);
}

}  // namespace

const AppOps kLowerOps{
    .name = "dtls",
    .connected = connected,
    .readable = readable,
    .writable = writable,
    .closed = closed,
    .enabled_again = [] noexcept { renew(shared().app, kLowerOps); },
    .draining = drain,
};

}  // namespace loom::tls::dtls
