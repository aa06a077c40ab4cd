// OpenSSL's buffers of records, of 17 KB each way: a session has them while it has something to do,
// and not when it is idle. OpenSSL's own way (SSL_MODE_RELEASE_BUFFERS) is to get and to give them
// back with each record; so it is during the handshake, when most that come may mean no good.
//   in    Connection::opened, and each round in which one receives or sends
//   cost  two pointers a round; a timer while any session has buffers
#include <string_view>

#include "tls.h"

namespace loom::tls {
namespace {

constexpr TimeNs kIdle = 100 * kMillisecond;
constexpr int kMostAsked = 4;  // for their buffers, at once

void unlink(TlsWorker& t, Connection& c) noexcept {
  (c.more_idle ? c.more_idle->less_idle : t.most_idle) = c.less_idle;
  (c.less_idle ? c.less_idle->more_idle : t.least_idle) = c.more_idle;
  c.more_idle = c.less_idle = nullptr;
  c.buffered = false;
  --t.n_buffered;
}

void link(TlsWorker& t, Connection& c) noexcept {
  c.more_idle = t.least_idle;
  (t.least_idle ? t.least_idle->less_idle : t.most_idle) = &c;
  t.least_idle = &c;
  c.buffered = true;
  c.active_at = t.w.now;
  ++t.n_buffered;
}

// With a part of a record in them they stay: between its header and its body OpenSSL has forgotten
// the header, and would give the buffer back. It has none but at the end of a handshake: receive.cc
// gives it whole ones.
bool release(SSL* ssl) noexcept {
  return SSL_has_pending(ssl) == 0 && std::string_view(SSL_rstate_string(ssl)) == "RH" &&
         SSL_free_buffers(ssl) == 1;
}

bool release_most_idle(TlsWorker& t) noexcept {
  Connection& c = *t.most_idle;
  unlink(t, c);
  const bool has_gone = release(c.ssl);
  if (!has_gone) link(t, c);  // it has half a record, and is asked again
  return has_gone;
}

void look(Worker& w, Timer& timer) noexcept {
  TlsWorker& t = tls_worker(w);
  for (uint32_t left = t.n_buffered; left != 0 && w.now - t.most_idle->active_at >= kIdle; --left)
    release_most_idle(t);
  if (t.n_buffered != 0) w.timer_start_in(timer, kIdle);
}

}  // namespace

void keep_buffers(Connection& c) noexcept {
  TlsWorker& t = *c.at;
  if (c.buffered) {
    if (t.least_idle == &c) {
      c.active_at = t.w.now;
      return;
    }
    unlink(t, c);
  } else if (t.n_buffered >= t.most_buffered) {
    for (int asked = 0; asked < kMostAsked && !release_most_idle(t); ++asked) {}
  }
  link(t, c);
  if (t.idle_timer.is_running()) return;
  t.idle_timer.fired = look;
  t.w.timer_start_in(t.idle_timer, kIdle);
}

void forget_buffers(Connection& c) noexcept {
  if (c.buffered) unlink(*c.at, c);
}

}  // namespace loom::tls
