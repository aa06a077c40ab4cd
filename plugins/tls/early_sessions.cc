#include "early_sessions.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <new>
#include <utility>

#include "tls.h"

namespace loom::tls {
namespace {

int context_index() noexcept {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// A copy of a session is another one, which is in no list yet.
int forget_in_copy(CRYPTO_EX_DATA*, const CRYPTO_EX_DATA*, void** entry, int, long,
                   void*) noexcept {
  *entry = nullptr;
  return 1;
}
int session_index() noexcept {
  static const int index =
      SSL_SESSION_get_ex_new_index(0, nullptr, nullptr, forget_in_copy, nullptr);
  return index;
}

constexpr uint32_t kMostOfATicket = 2;  // that leave as one comes

}  // namespace

bool EarlySessions::attach(SSL_CTX* c) noexcept {
  if (SSL_CTX_set_ex_data(c, context_index(), this) != 1 || session_index() < 0) return false;
  SSL_CTX_sess_set_new_cb(c, added);
  SSL_CTX_sess_set_remove_cb(c, removed);
  context_ = c;
  return true;
}

// What OpenSSL had not kept, or no more.
EarlySessions::~EarlySessions() {
  for (Entry* e = oldest_; e;) {
    SSL_SESSION_free(e->session);
    delete std::exchange(e, e->newer);
  }
}

// 1: the reference is ours.
int EarlySessions::added(SSL* ssl, SSL_SESSION* session) noexcept {
  auto* const self =
      static_cast<EarlySessions*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index()));
  if (!self) return 0;
  // Of a client without tickets: nobody is to resume it by its number.
  if (SSL_version(ssl) < TLS1_3_VERSION) {
    (void)SSL_CTX_remove_session(self->context_, session);
    return 0;
  }
  const TimeNs now = steady_now();
  const bool is_ours = self->add(session, now);
  (void)self->drop_expired(now, kMostOfATicket);
  return is_ours;
}

// OpenSSL may hold its own lock.
void EarlySessions::removed(SSL_CTX* c, SSL_SESSION* session) noexcept {
  auto* const self = static_cast<EarlySessions*>(SSL_CTX_get_ex_data(c, context_index()));
  if (self) SSL_SESSION_free(self->take(session));
}

// Without memory it stays until it is used, or others need its place.
bool EarlySessions::add(SSL_SESSION* session, TimeNs now) noexcept {
  Entry* const e = new (std::nothrow) Entry{nullptr, nullptr, session, now + lifetime_};
  if (!e) return false;
  const std::lock_guard lock(mutex_);
  if (SSL_SESSION_set_ex_data(session, session_index(), e) != 1) {
    delete e;
    return false;
  }
  e->older = newest_;
  (newest_ ? newest_->newer : oldest_) = e;
  newest_ = e;
  ++size_;
  return true;
}

// The reference that its entry had; null: it has none.
SSL_SESSION* EarlySessions::take(SSL_SESSION* session) noexcept {
  const std::lock_guard lock(mutex_);
  auto* const e = static_cast<Entry*>(SSL_SESSION_get_ex_data(session, session_index()));
  if (!e) return nullptr;
  (void)SSL_SESSION_set_ex_data(session, session_index(), nullptr);
  (e->older ? e->older->newer : oldest_) = e->newer;
  (e->newer ? e->newer->older : newest_) = e->older;
  --size_;
  delete e;
  return session;
}

// A reference; null: there is none.
SSL_SESSION* EarlySessions::oldest_expired(TimeNs now) noexcept {
  const std::lock_guard lock(mutex_);
  if (!oldest_ || oldest_->due > now) return nullptr;
  return SSL_SESSION_up_ref(oldest_->session) == 1 ? oldest_->session : nullptr;
}

uint32_t EarlySessions::drop_expired(TimeNs now, uint32_t most) noexcept {
  uint32_t n = 0;
  for (; n < most; ++n) {
    SSL_SESSION* const s = oldest_expired(now);
    if (!s) break;
    (void)SSL_CTX_remove_session(context_, s);  // calls `removed`
    SSL_SESSION_free(s);
  }
  return n;
}

std::size_t EarlySessions::size() noexcept {
  const std::lock_guard lock(mutex_);
  return size_;
}

void EarlySweep::start(TimeNs every) {
  if (watch_ != 0) return;
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer_ < 0) return;  // new tickets push out those of old
  every_ = every;
  set(every_, every_);
  watch_ = shared().host->watch_fd(
      timer_,
      [](void* self) {
        auto& sweep = *static_cast<EarlySweep*>(self);
        uint64_t n = 0;
        if (::read(sweep.timer_, &n, sizeof n) == sizeof n) sweep.turn(steady_now());
      },
      this);
  if (watch_ == 0) stop();
}

void EarlySweep::stop() noexcept {
  if (watch_ != 0) shared().host->unwatch_fd(std::exchange(watch_, 0));
  if (timer_ >= 0) ::close(std::exchange(timer_, -1));
}

void EarlySweep::set(TimeNs first, TimeNs every) noexcept {
  const auto spec = [](TimeNs t) {
    return timespec{static_cast<time_t>(t / kSecond), static_cast<long>(t % kSecond)};
  };
  const itimerspec times{.it_interval = spec(every), .it_value = spec(first)};
  (void)::timerfd_settime(timer_, 0, &times, nullptr);
}

void EarlySweep::turn(TimeNs now) noexcept {
  bool has_some = false;
  for (const auto& [id, l] : shared().listeners) {
    EarlySessions& sessions = l->context->early_sessions;
    if (!sessions.is_attached()) continue;
    has_some = true;
    if (sessions.drop_expired(now, kMostOfATurn) < kMostOfATurn) continue;
    return set(kMillisecond, every_);  // there may be more: others' turn first
  }
  if (!has_some) stop();
}

}  // namespace loom::tls
