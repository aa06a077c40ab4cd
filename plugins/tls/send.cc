// Records out: encrypted by OpenSSL straight from the application's fifo.
#include <openssl/err.h>

#include <algorithm>

#include "tls.h"

namespace loom::tls {
namespace {

// Both directions have ended, or nobody is there to hear the other one.
void finish(Connection& c) noexcept {
  Worker& w = c.at->w;
  w.sessions->closed(w, std::exchange(c.upper, kNoSession));
  end_below(c);
}

// The peer has begun a message of a handshake (a KeyUpdate, say) and not ended it: OpenSSL sends
// nothing meanwhile. receive() goes on; nobody waits for ever who is gone.
void wait_for_peer(Connection& c) noexcept {
  c.blocked = true;
  if (c.closed && !c.timer.is_running()) start_timer(c, kLinger);
}

// Behind the last byte: close_notify, then the end of the lower direction.
void say_close(Connection& c) noexcept {
  if (!c.said_close) {
    if (SSL_in_init(c.ssl)) return wait_for_peer(c);
    ERR_clear_error();
    if (SSL_shutdown(c.ssl) < 0) {  // what it cannot write waits in `unsent`
      note_errors(*c.at, c.ssl);
      return fail(c, ResetReason::kAborted);
    }
    c.said_close = true;
    if (!flush(c)) return;
  }
  c.below().shutdown();
  if (c.closed || c.heard_close) finish(c);
}

// In time before their bound (RFC 8446 section 5.5). While the peer is within a message of its own
// it is refused, and tried again. It is sent at once: until then OpenSSL takes it for a handshake
// that is under way, and would let nobody close.
void change_keys(Connection& c) noexcept {
  if (SSL_version(c.ssl) < TLS1_3_VERSION) return;
  if (SSL_key_update(c.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(c.ssl) == 1)
    c.n_records = 0;
  else
    ERR_clear_error();
}

// One record. False: the connection has failed, or the peer is to end a message first.
bool encrypt(Connection& c, std::span<const std::byte> plain) noexcept {
  Worker& w = c.at->w;
  size_t n = 0;
  ERR_clear_error();
  if (const int done = SSL_write_ex(c.ssl, plain.data(), plain.size(), &n); done != 1) {
    if (SSL_get_error(c.ssl, done) == SSL_ERROR_WANT_READ) {
      wait_for_peer(c);
      return false;
    }
    note_errors(*c.at, c.ssl);
    fail(c, ResetReason::kAborted);
    return false;
  }
  w.sessions->tx_drop(w, c.upper, static_cast<uint32_t>(n));
  c.at->stats[kBytesOut] += n;
  if (++c.n_records >= c.at->most_records) [[unlikely]]
    change_keys(c);
  return true;
}

}  // namespace

void send(Connection& c) noexcept {
  if (c.state != Connection::State::kOpen || c.upper == kNoSession || !flush(c)) return;
  Worker& w = c.at->w;
  AppSession lower = c.below();
  std::span<const std::byte> plain[1];
  if (w.sessions->tx_queued(w, c.upper) != 0) keep_buffers(c);
  Turns& turns = c.at->turns_out;
  turns.begin(c.turn_out, w.now);
  for (bool has_begun = false; !c.said_close; has_begun = true) {  // a call has one record at least
    if (has_begun && turns.is_over(c.turn_out)) break;
    if (w.sessions->tx_views(w, c.upper, std::span(plain)) == 0) break;
    // The lower fifo has at least 64 KB: there will be so much room.
    if (lower.space() < kMaxRecord) return lower.want_writable(kMaxRecord);
    const std::size_t n = std::min<std::size_t>(plain[0].size(), kMaxPlain);
    if (!encrypt(c, plain[0].first(n))) return;
    turns.spend(c.turn_out, static_cast<uint32_t>(n));
    if (!c.unsent.empty()) return;
  }
  // What was written behind its end goes nowhere.
  if (c.shut && (c.said_close || w.sessions->tx_queued(w, c.upper) == 0)) say_close(c);
}

}  // namespace loom::tls
