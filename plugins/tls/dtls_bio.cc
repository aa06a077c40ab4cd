// OpenSSL's BIO over a lower session of datagrams: a write is a datagram, a read is one, too. And
// the clock of its retransmissions.
//
// OpenSSL keeps the time of day at which a flight is due again, and compares it with the time of
// day whenever it reads: a step of that clock would send every flight too early, or none. So the
// worker's timer decides. OpenSSL says by a BIO control when it starts and stops its timer, and its
// callback says for how long. Before 3.2 the control shows the very field that is compared: it gets
// a time that never comes, and one that is long gone when ours has come. Later ones show a copy.
// Then a step forward sends one flight too early, and one back holds flights up until the
// handshake's deadline.
#include <openssl/bio.h>

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "bio.h"
#include "dtls.h"

namespace loom::tls::dtls {
namespace {

Wire& of(BIO* b) noexcept { return *static_cast<Wire*>(BIO_get_data(b)); }

int read_ex(BIO* b, char* to, size_t most, size_t* got) noexcept {
  Wire& wire = of(b);
  BIO_clear_retry_flags(b);
  *got = std::min(most, wire.in.size());
  if (*got == 0) {
    BIO_set_retry_read(b);
    return 0;
  }
  std::memcpy(to, wire.in.data(), *got);
  if (!wire.peeks) wire.in = {};
  return 1;
}

void keep(Wire& wire, std::span<const std::byte> datagram) noexcept {
  try {
    wire.out->emplace_back(datagram.begin(), datagram.end());
  } catch (const std::bad_alloc&) {
    ++wire.n_lost;
  }
}

int write_ex(BIO* b, const char* from, size_t size, size_t* taken) noexcept {
  Wire& wire = of(b);
  BIO_clear_retry_flags(b);
  const auto datagram = std::as_bytes(std::span(from, size));
  wire.out ? keep(wire, datagram) : send_below(wire, datagram);
  *taken = size;
  return 1;
}

constexpr time_t kNever = std::numeric_limits<time_t>::max() / 2;

bool shows_its_field() noexcept {
  static const bool is_so = OpenSSL_version_num() < 0x3020'0000UL;
  return is_so;
}

// The timer has been started or, with a zero, stopped.
void timer_set(Wire& wire, timeval& due) noexcept {
  const bool runs = due.tv_sec != 0 || due.tv_usec != 0;
  const TimeNs wait = wire.wait_us * kMicrosecond;
  wire.retransmit_at = !runs ? 0 : wire.out ? wait : wire.w->now + wait;
  wire.was_set = true;
  if (!shows_its_field()) return;
  wire.due = &due;
  if (runs) due = {.tv_sec = kNever, .tv_usec = 0};
}

// For how long it is to run: `before` us the last time, 0 at the first.
unsigned next_wait(SSL* ssl, unsigned before) noexcept {
  Wire& wire = of(SSL_get_rbio(ssl));
  wire.wait_us =
      before == 0 ? kLeastRetransmitUs : std::min(2 * before, unsigned{kMostRetransmitUs});
  return wire.wait_us;
}

long control(BIO* b, int command, long number, void* p) noexcept {
  switch (command) {
    case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
      timer_set(of(b), *static_cast<timeval*>(p));
      return 1;
    case BIO_CTRL_DGRAM_SET_PEEK_MODE:
      of(b).peeks = number != 0;
      return 1;
    case BIO_CTRL_FLUSH:
      return 1;
    default:
      return 0;
  }
}

}  // namespace

bool attach_wire(SSL* ssl, Wire& wire) noexcept {
  static BIO_METHOD* const method =
      make_bio_method("hostloom datagrams", {read_ex, write_ex, control});
  if (!attach_bio(ssl, method, &wire)) return false;
  DTLS_set_timer_cb(ssl, next_wait);
  return true;
}

int retransmit(SSL* ssl, Wire& wire) noexcept {
  if (wire.retransmit_at == 0 || wire.w->now < wire.retransmit_at) return 0;
  if (wire.due) *wire.due = {.tv_sec = 0, .tv_usec = 1};
  wire.retransmit_at = 0;
  const int outcome = DTLSv1_handle_timeout(ssl);
  // OpenSSL thinks that it is too early: it is asked again, and not at once.
  if (outcome == 0) wire.retransmit_at = wire.w->now + wire.wait_us * kMicrosecond;
  return outcome;
}

void send_below(const Wire& wire, std::span<const std::byte> datagram) noexcept {
  AppSession lower(*wire.w, wire.lower);
  if (lower.send_datagram(wire.to, datagram) != Status::kOk) ++dtls_worker(*wire.w).stats[kUnsent];
}

void move_wire(SSL* ssl, Wire& wire) noexcept { BIO_set_data(SSL_get_rbio(ssl), &wire); }

}  // namespace loom::tls::dtls
