// Handshakes, and how connections end by our doing.
//   cost  a private-key operation each: a thread's of the pool (handover.cc), or the worker's: once
//         those of a round have taken so long, the others wait for the next round (slice.h)
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls.h"

namespace loom::tls {
namespace {

void timer_fired(Worker& w, Timer& t) noexcept {
  Connection& c = LOOM_TIMER_OWNER(Connection, timer, t);
  switch (c.state) {
    case Connection::State::kConnecting:
    case Connection::State::kHandshake:
      ++c.at->stats[kHandshakesTimedOut];
      return fail(c, ResetReason::kTimedOut);
    case Connection::State::kOpen:
      if (c.closed && c.blocked) return fail(c, ResetReason::kTimedOut);
      return receive(c);
    case Connection::State::kEnding:
      return AppSession(w, c.lower).close();
  }
}

void handshake_over(Connection& c) noexcept {
  if (c.state != Connection::State::kHandshake && c.state != Connection::State::kConnecting) return;
  take_back(c);
  c.at->w.timer_stop(c.timer);
  --c.at->stats[kUnderWay];
  if (c.listener) --c.listener->under_way[c.at->w.index];
  const int early = c.is_server && c.ssl ? SSL_get_early_data_status(c.ssl) : 0;
  if (early == SSL_EARLY_DATA_ACCEPTED) ++c.at->stats[kEarlyAccepted];
  if (early == SSL_EARLY_DATA_REJECTED) ++c.at->stats[kEarlyRefused];
  c.listener = nullptr;
  c.state = Connection::State::kEnding;
}

Status status_of(ResetReason r) noexcept {
  switch (r) {
    case ResetReason::kTimedOut:
      return Status::kTimedOut;
    case ResetReason::kRefused:
      return Status::kRefused;
    case ResetReason::kUnreachable:
      return Status::kUnreachable;
    case ResetReason::kNoMemory:
      return Status::kNoMemory;
    default:
      return Status::kReset;
  }
}

// Tells whoever is above, unless it has heard before.
void tell(Connection& c, Status status, ResetReason reason) noexcept {
  const SessionId upper = std::exchange(c.upper, kNoSession);
  const bool was_accepted = c.is_server || c.state == Connection::State::kOpen;
  handshake_over(c);
  if (upper == kNoSession) return;
  Worker& w = c.at->w;
  if (was_accepted)
    w.sessions->reset(w, upper, reason);
  else
    w.sessions->connected(w, upper, status, Endpoints{});
}

void opened(Connection& c) noexcept {
  Worker& w = c.at->w;
  const bool is_new = c.upper == kNoSession;  // early data has brought the application before
  ++c.at->stats[c.is_server ? kServerHandshakes : kClientHandshakes];
  if (SSL_session_reused(c.ssl)) ++c.at->stats[kResumed];
  if (c.is_server && is_new && !accept_above(c)) return;
  handshake_over(c);
  c.state = Connection::State::kOpen;
  c.was_open = true;
  SSL_clear_mode(c.ssl, SSL_MODE_RELEASE_BUFFERS);
  keep_buffers(c);
  if (!c.is_server) {
    ConnectionInfo info;
    (void)c.below().info(info);
    w.sessions->connected(w, c.upper, Status::kOk, info.endpoints);
  }
  // Early data that waits unread for the end of the handshake is what it seems to be.
  if (!is_new && !c.closed && c.upper != kNoSession) w.sessions->rx_tell(w, c.upper);
  // What was written, or ended, meanwhile.
  if ((c.shut || !is_new) && c.upper != kNoSession) w.sessions->tx_schedule(w, c.upper);
  receive(c);
}

// A client whose server is not the one it wants, or cannot be believed.
bool is_verify_failure(const Connection& c) noexcept {
  return !c.is_server && SSL_get_verify_result(c.ssl) != X509_V_OK &&
         SSL_get_verify_mode(c.ssl) != SSL_VERIFY_NONE;
}

}  // namespace

void start_timer(Connection& c, TimeNs delay) noexcept {
  c.timer.fired = timer_fired;
  c.at->w.timer_start_in(c.timer, delay);
}

void begin_client(Connection& c) noexcept {
  c.state = Connection::State::kHandshake;
  handshake(c);
}

Step outcome_of(SSL* ssl, int returned) noexcept {
  Step s;
  s.done = returned;
  if (returned == 1) return s;
  const int why = SSL_get_error(ssl, returned);
  s.waits = why == SSL_ERROR_WANT_READ;
  s.wants_key = why == SSL_ERROR_WANT_X509_LOOKUP;
  if (!s.waits && !s.wants_key) s.complaints = take_complaints(ssl);
  return s;
}

Step take_step(SSL* ssl) noexcept {
  ERR_clear_error();
  return outcome_of(ssl, SSL_do_handshake(ssl));
}

void handshake(Connection& c) noexcept {
  TlsWorker& t = *c.at;
  if (!flush(c) || is_away(c) || hand_over(c)) return;
  if (t.slice.is_used_up(t.w.now) && c.below().unread() != 0) return c.below().want_readable();
  ERR_clear_error();
  switch (c.reads_early ? read_early(c) : Early::kGoOn) {
    case Early::kWait:
    case Early::kOver:
      return;
    case Early::kLook:
      return stepped(c, outcome_of(c.ssl, 0));
    case Early::kGoOn:
      return stepped(c, t.slice.measure([&c] { return take_step(c.ssl); }));
  }
}

void stepped(Connection& c, const Step& s) noexcept {
  TlsWorker& t = *c.at;
  if (s.done == 1) return opened(c);
  if (s.wants_key) return hand_over_now(c);
  if (s.waits) {
    if (c.below().unread() != 0) return c.below().want_readable();
    if (!c.below().eof()) return;
    ++t.stats[kHandshakesFailed];
    return fail(c, ResetReason::kPeerReset);
  }
  ++t.stats[kHandshakesFailed];
  count(t, s.complaints);
  if (!is_verify_failure(c)) return fail(c, ResetReason::kPeerReset);
  tell(c, Status::kPermission, ResetReason::kAborted);
  end_below(c);
}

bool accept_above(Connection& c) noexcept {
  Worker& w = c.at->w;
  ConnectionInfo info;
  (void)c.below().info(info);
  if (w.sessions->accepted(w, c.listener->upper, shared().transport, c.self, info.endpoints,
                           &c.upper) == Status::kOk)
    return true;
  ++c.at->stats[kRefused];
  c.upper = kNoSession;
  handshake_over(c);
  c.below().abort();
  return false;
}

void fail(Connection& c, ResetReason reason) noexcept {
  tell(c, status_of(reason), reason);
  end_below(c);
}

void lost(Connection& c, Status status, ResetReason reason) noexcept {
  if (c.state == Connection::State::kHandshake) ++c.at->stats[kHandshakesFailed];
  tell(c, status, reason);
  c.state = Connection::State::kEnding;
}

void end_below(Connection& c) noexcept {
  handshake_over(c);
  c.state = Connection::State::kEnding;
  // Its records are made: nothing of it is needed for the rest.
  forget_buffers(c);
  free_ssl(c);
  AppSession lower = c.below();
  // A peer that has cost no more than a few bytes may cost no more than that.
  if (!c.was_open && !c.lingers) {
    if (c.at->lingering >= kMostLingering) return lower.abort();
    c.lingers = true;
    ++c.at->lingering;
  }
  if (!flush(c)) return start_timer(c, kLinger);  // `writable` comes back here
  lower.shutdown();
  start_timer(c, kLinger);
  discard(c);
}

void discard(Connection& c) noexcept {
  AppSession lower = c.below();
  const uint32_t n = lower.unread();
  lower.consume(n);
  c.discarded += n;
  if (c.discarded > kMostDiscarded) return lower.abort();  // RFC 1122 section 4.2.2.13
  if ((lower.ended() || c.heard_close) && c.unsent.empty()) lower.close();
}

}  // namespace loom::tls
