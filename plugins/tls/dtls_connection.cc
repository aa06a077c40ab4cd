// A connection's work: handshake with its retransmissions, records in and out, its end.
#include <openssl/err.h>

#include <algorithm>
#include <cstring>

#include "dtls.h"
#include "tls.h"

namespace loom::tls::dtls {
namespace {

using State = Connection::State;

constexpr std::size_t kRecordHeader = 13;
constexpr std::byte kChangeCipherSpec{20}, kAlert{21}, kHandshakeRecord{22};

uint32_t headers_of(const IpAddress& a) noexcept { return (a.is_ip4 ? 20 : 40) + 8; }

// Asks for the path's MTU, when it is not known or there is news of it.
void look_at_path(Connection& c, bool again) noexcept {
  if (c.mtu != 0 && !again) return;
  const IpAddress& peer = c.wire.to.ends.remote;
  c.mtu = std::max(c.below().path_mtu(peer), kLeastMtu);
  SSL_set_mtu(c.ssl, std::min(c.mtu - headers_of(peer), kMostWire));
}

uint32_t most_of_record(const Connection& c) noexcept {
  return static_cast<uint32_t>(std::min<std::size_t>(DTLS_get_data_mtu(c.ssl), kMostPlain));
}

void count_out(Connection& c) noexcept {
  take_back(c);
  if (!std::exchange(c.counted, false)) return;
  --c.at->stats[kUnderWay];
  if (c.listener) --c.listener->under_way;
}

void count(Connection& c, const Complaints& all) noexcept {
  c.at->stats[kAlertsReceived] += all.alerts;
  c.at->stats[kVerifyFailed] += all.mistrusted;
}

void note_errors(Connection& c) noexcept { count(c, take_complaints(c.ssl)); }

void opened(Connection& c) noexcept {
  Worker& w = c.at->w;
  count_out(c);
  c.state = State::kOpen;
  ++c.at->stats[c.is_server ? kServerHandshakes : kClientHandshakes];
  if (!c.is_server) {
    w.sessions->connected(w, c.upper, Status::kOk, c.wire.to.ends);
    // While connecting; nobody is above any more when there was no memory for its fifos.
    if (c.shut && c.upper != kNoSession) w.sessions->tx_schedule(w, c.upper);
    return;
  }
  if (w.sessions->accepted(w, c.listener->upper, shared().transport, c.self, c.wire.to.ends,
                           &c.upper) == Status::kOk)
    return settle_in(c);
  c.upper = kNoSession;
  ++c.at->stats[kRefused];
  finish(c);
}

void deliver(Connection& c, const Datagram& from, std::size_t n) noexcept {
  if (c.closed || c.upper == kNoSession) return;
  Worker& w = c.at->w;
  Buffer b;
  b.data = c.at->plain.data();
  b.len = static_cast<uint32_t>(n);
  if (w.sessions->rx_datagram(w, c.upper, from, b, 0, b.len) != Status::kOk)
    ++c.at->stats[kRcvbufFull];
}

// Each record of the datagram is a datagram above. `is_for_data`: one of them should be.
void receive(Connection& c, const Datagram& from, bool is_for_data) noexcept {
  Worker& w = c.at->w;
  for (bool is_first = is_for_data; c.state == State::kOpen && !c.heard_close; is_first = false) {
    size_t n = 0;
    ERR_clear_error();
    const int done = SSL_read_ex(c.ssl, c.at->plain.data(), kMostPlain, &n);
    if (done == 1 && n == 0) {  // above it would be the end of the stream
      ++c.at->stats[kRecordsDropped];
      continue;
    }
    if (done == 1) {
      deliver(c, from, n);
      continue;
    }
    switch (SSL_get_error(c.ssl, done)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        if (is_first) ++c.at->stats[kRecordsDropped];
        return;
      case SSL_ERROR_ZERO_RETURN:
        c.heard_close = true;
        if (c.upper != kNoSession) w.sessions->peer_closed(w, c.upper);
        return;
      default:
        note_errors(c);
        return fail(c, Status::kReset, ResetReason::kPeerReset);
    }
  }
}

uint16_t be16(std::span<const std::byte> d, std::size_t at) noexcept {
  return static_cast<uint16_t>(std::to_integer<uint16_t>(d[at]) << 8 |
                               std::to_integer<uint16_t>(d[at + 1]));
}

// A record's type and version (RFC 6347 section 4.1): what begins with others is none of a peer's.
bool begins_with_record(std::span<const std::byte> d) noexcept {
  return d.size() > kRecordHeader && d[0] >= std::byte{20} && d[0] <= std::byte{23} &&
         d[1] == std::byte{0xfe};
}

constexpr uint32_t kMostOverhead = 8 + 16;  // of any AEAD's

// Bytes without which a record under the connection's keys has no room for its nonce and tag (RFC
// 5288 section 3, RFC 6655 section 3, RFC 7905 section 2). 0: a block cipher's, whose short records
// OpenSSL drops.
uint32_t least_protected(const SSL* ssl) noexcept {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl);
  if (!cipher) cipher = SSL_get_pending_cipher(ssl);
  if (!cipher || !SSL_CIPHER_is_aead(cipher)) return 0;
  return std::strstr(SSL_CIPHER_get_name(cipher), "GCM") ? 8 + 16 : 16;
}

// Of a record, with what protects it: bytes. Where the peers have agreed on less (RFC 6066 section
// 4) it is less.
uint32_t most_protected(const SSL* ssl) noexcept {
  const SSL_SESSION* const session = SSL_get0_session(ssl);
  const uint8_t mode = session ? SSL_SESSION_get_max_fragment_length(session) : 0;
  if (mode == TLSEXT_max_fragment_length_DISABLED || mode > TLSEXT_max_fragment_length_4096)
    return SSL3_RT_MAX_ENCRYPTED_LENGTH;
  return (256u << mode) + SSL3_RT_MAX_ENCRYPTED_OVERHEAD;
}

// Whether OpenSSL takes the record that begins there as one, or passes over it as a whole. Of
// others it passes over the header alone, and what is in them would be records to it: somebody
// else's, past all that is looked at here. The first message of the peer's may come in a record of
// an older version (RFC 6347 section 4.2.1), which a datagram begins with: OpenSSL takes that one.
bool is_taken_whole(const Connection& c, std::span<const std::byte> d, std::size_t at) noexcept {
  if (be16(d, at + kRecordHeader - 2) > most_protected(c.ssl) || d[at + 1] != std::byte{0xfe})
    return false;
  return be16(d, at + 1) == DTLS1_2_VERSION || d[at] == kAlert ||
         (at == 0 && c.state == State::kHandshake && !c.has_first);
}

// What OpenSSL keeps for later has room for the largest record each time: the datagram ends before
// one too many.
//   before ChangeCipherSpec  records of the next epoch. Retransmissions bring a few; those that
//   were
//                            somebody else's leave room for one right behind ChangeCipherSpec,
//                            which is the peer's
//   behind it                data, until Finished has come
//   at any time              a record of an epoch after that: nobody renegotiates, so none is good;
//   one that is shorter than anything under the keys, for which OpenSSL would end the connection;
//   and one whose inside it would take for records
std::span<const std::byte> without_too_many(Connection& c, std::span<const std::byte> d) noexcept {
  const OSSL_HANDSHAKE_STATE at_step = SSL_get_state(c.ssl);
  const bool has_begun = at_step == TLS_ST_SR_CHANGE || at_step == TLS_ST_CR_CHANGE;
  bool begins_epoch = false;
  for (std::size_t at = 0; at + kRecordHeader <= d.size();
       at += kRecordHeader + be16(d, at + kRecordHeader - 2)) {
    if (!is_taken_whole(c, d, at)) {
      ++c.at->stats[kRecordsDropped];
      return d.first(at);
    }
    c.has_first |= d[at] == kHandshakeRecord;
    const uint16_t epoch = be16(d, at + 3);
    const uint32_t length = be16(d, at + kRecordHeader - 2);
    if (epoch == 1 && length < kMostOverhead && length < least_protected(c.ssl)) {
      ++c.at->stats[kRecordsDropped];
      return d.first(at);
    }
    const bool is_kept =
        epoch == 1 && c.state != State::kOpen && (!has_begun || d[at] != kHandshakeRecord);
    uint8_t& n = has_begun ? c.n_data : begins_epoch ? c.n_begun : c.n_early;
    begins_epoch = epoch == 0 && d[at] == kChangeCipherSpec;
    if (epoch <= 1 && !is_kept) continue;
    if (epoch > 1 || n == kMostEarly) {
      ++c.at->stats[kRecordsDropped];
      return d.first(at);
    }
    ++n;
  }
  return d;
}

void timer_fired(Worker& w, Timer& t) noexcept {
  Connection& c = LOOM_TIMER_OWNER(Connection, timer, t);
  if (c.counted && w.now >= c.deadline) {
    ++c.at->stats[kHandshakesTimedOut];
    fail(c, Status::kTimedOut, ResetReason::kTimedOut);
    return settle(c);
  }
  if (!c.ssl) return settle(c);  // nothing is sent again while a thread has it
  ERR_clear_error();
  look_at_path(c, true);
  if (const int outcome = retransmit(c.ssl, c.wire); outcome > 0) {
    ++c.at->stats[kRetransmissions];
  } else if (outcome < 0) {
    ++c.at->stats[kHandshakesTimedOut];
    fail(c, Status::kTimedOut, ResetReason::kTimedOut);
  }
  settle(c);
}

// For what comes first; for nothing there is no timer.
void arm(Connection& c) noexcept {
  Worker& w = c.at->w;
  TimeNs next = c.counted ? c.deadline : 0;
  if (const TimeNs at = c.ssl ? c.wire.retransmit_at : 0; at != 0)
    next = next == 0 ? at : std::min(next, at);
  w.timer_stop(c.timer);
  if (next == 0) return;
  c.timer.fired = timer_fired;
  w.timer_start_in(c.timer, next > w.now ? next - w.now : 1);
}

}  // namespace

void start_deadline(Connection& c) noexcept {
  c.counted = true;
  ++c.at->stats[kUnderWay];
  if (c.listener) ++c.listener->under_way;
  c.deadline = c.at->w.now + tls::shared().config.handshake_timeout;
}

void begin(Connection& c, const Datagram& from) noexcept {
  c.state = State::kHandshake;
  c.has_first = c.is_server;  // OpenSSL has the ClientHello
  if (!c.is_server) {
    ConnectionInfo info;
    (void)c.below().info(info);
    c.wire.to.ends = info.endpoints;
  }
  SSL_set_options(c.ssl, SSL_OP_NO_QUERY_MTU);
  SSL_set_mode(c.ssl, SSL_MODE_AUTO_RETRY);  // a datagram may have several records
  look_at_path(c, true);
  if (!c.is_server || !keep_for_later(c, from, c.wire.in)) look_at(c, from);
}

void stepped(Connection& c, const Step& s, const Datagram& from) noexcept {
  if (s.waits) return;
  if (s.done == 1) {
    opened(c);
    // Records may have come before the handshake's last one, or with it.
    if (c.state == State::kOpen) receive(c, from, false);
    return;
  }
  ++c.at->stats[kHandshakesFailed];
  const bool is_mistrusted = !c.is_server && SSL_get_verify_result(c.ssl) != X509_V_OK &&
                             SSL_get_verify_mode(c.ssl) != SSL_VERIFY_NONE;
  count(c, s.complaints);
  fail(c, is_mistrusted ? Status::kPermission : Status::kReset, ResetReason::kPeerReset);
}

void look_at(Connection& c, const Datagram& from) noexcept {
  if (c.state == State::kOpen) return receive(c, from, true);
  if (c.state != State::kHandshake || hand_over(c, from)) return;
  stepped(c, tls_worker(c.at->w).slice.measure([&c] { return take_step(c.ssl); }), from);
}

void input(Connection& c, const Datagram& from, std::span<const std::byte> datagram) noexcept {
  if (!begins_with_record(datagram)) {
    ++c.at->stats[kRecordsDropped];
    return;
  }
  if (keep_for_later(c, from, datagram)) return;
  c.wire.in = without_too_many(c, datagram);
  // There was no memory to begin with the ClientHello, which OpenSSL has: it comes again.
  const bool is_to_begin = c.is_server && SSL_get_state(c.ssl) == TLS_ST_SR_CLNT_HELLO;
  if (!c.wire.in.empty() || is_to_begin) look_at(c, from);
  c.wire.in = {};
}

uint32_t most_payload(Connection& c) noexcept {
  if (c.state != State::kOpen) return 0;
  look_at_path(c, true);
  return most_of_record(c);
}

namespace {
// What the application says of one datagram goes with it.
void add_how(Datagram& to, const Datagram& how) noexcept {
  to.flags |= how.flags;
  if (how.flags & kDatagramTos) to.tos = how.tos;
  if (how.flags & kDatagramTtl) to.ttl = how.ttl;
}
}  // namespace

void send(Connection& c) noexcept {
  if (c.state != State::kOpen || c.upper == kNoSession) return;
  Worker& w = c.at->w;
  look_at_path(c, c.is_server);  // whose lower session, which has no peer, is told nothing of paths
  const uint32_t most = most_of_record(c);
  const Datagram usual = c.wire.to;
  for (uint32_t i = 0; i < kMostPerCall && !c.said_close; ++i) {
    if (c.below().space() < kRoom) return wait_for_room(c);
    uint32_t n = 0;
    Datagram how;
    const Status s = w.sessions->tx_datagram(w, c.upper, how, c.at->plain, &n);
    if (s == Status::kClosed) {  // the application has ended by what it wrote
      if (c.closed) finish(c);
      return;
    }
    if (s != Status::kOk) break;
    if (n == 0) {  // a record without data says nothing to the peer's application
      ++c.at->stats[kEmpty];
      continue;
    }
    if (n > most) {
      ++c.at->stats[kTooLong];
      w.sessions->soft_error(w, c.upper, ResetReason::kMessageSize);
      continue;
    }
    size_t taken = 0;
    ERR_clear_error();
    add_how(c.wire.to, how);
    const int written = SSL_write_ex(c.ssl, c.at->plain.data(), n, &taken);
    c.wire.to = usual;
    if (written != 1) {
      note_errors(c);
      return fail(c, Status::kReset, ResetReason::kAborted);
    }
  }
  if (c.closed && c.said_close) return finish(c);  // what it wrote behind its end goes nowhere
  if (!c.shut || w.sessions->tx_queued(w, c.upper) != 0) return;
  if (c.closed) return finish(c);
  if (!std::exchange(c.said_close, true)) (void)SSL_shutdown(c.ssl);
}

void fail(Connection& c, Status status, ResetReason reason) noexcept {
  Worker& w = c.at->w;
  count_out(c);
  drop_kept(c);
  const bool was_open = c.state == State::kOpen;
  c.state = State::kEnding;
  const SessionId upper = std::exchange(c.upper, kNoSession);
  if (upper == kNoSession) return;
  if (was_open)
    w.sessions->reset(w, upper, reason);
  else
    w.sessions->connected(w, upper, status, Endpoints{});
}

void finish(Connection& c) noexcept {
  Worker& w = c.at->w;
  count_out(c);
  drop_kept(c);
  ERR_clear_error();
  if (c.state == State::kOpen && !std::exchange(c.said_close, true)) (void)SSL_shutdown(c.ssl);
  c.state = State::kEnding;
  const SessionId upper = std::exchange(c.upper, kNoSession);
  if (upper != kNoSession) w.sessions->closed(w, upper);
}

void settle(Connection& c) noexcept {
  if (c.state != State::kEnding) return arm(c);
  c.at->w.timer_stop(c.timer);
  if (c.is_server) {
    leave(c);
    return c.at->give_back(c);
  }
  if (!std::exchange(c.lower_closed, true)) c.below().close();  // `closed` forgets it
}

}  // namespace loom::tls::dtls
