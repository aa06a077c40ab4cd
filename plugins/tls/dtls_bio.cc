// OpenSSL's BIO over a lower session of datagrams: a write is a datagram, a read is one, too.
#include <openssl/bio.h>

#include <algorithm>
#include <cstring>

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

// One that finds no room is lost, as it could be on its way.
int write_ex(BIO* b, const char* from, size_t size, size_t* taken) noexcept {
  const Wire& wire = of(b);
  BIO_clear_retry_flags(b);
  AppSession lower(*wire.w, wire.lower);
  if (lower.send_datagram(wire.to, std::as_bytes(std::span(from, size))) != Status::kOk)
    ++dtls_worker(*wire.w).stats[kUnsent];
  *taken = size;
  return 1;
}

long control(BIO* b, int command, long number, void*) noexcept {
  switch (command) {
    case BIO_CTRL_DGRAM_SET_PEEK_MODE:
      of(b).peeks = number != 0;
      return 1;
    case BIO_CTRL_FLUSH:
      return 1;
    default:
      return 0;
  }
}

BIO_METHOD* method() noexcept {
  static BIO_METHOD* const m = [] {
    BIO_METHOD* made =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "hostloom datagrams");
    if (!made) return made;
    BIO_meth_set_read_ex(made, read_ex);
    BIO_meth_set_write_ex(made, write_ex);
    BIO_meth_set_ctrl(made, control);
    return made;
  }();
  return m;
}

}  // namespace

bool attach_wire(SSL* ssl, Wire& wire) noexcept {
  BIO* b = method() ? BIO_new(method()) : nullptr;
  if (!b) return false;
  BIO_set_data(b, &wire);
  BIO_set_init(b, 1);
  SSL_set_bio(ssl, b, b);
  return true;
}

void move_wire(SSL* ssl, Wire& wire) noexcept { BIO_set_data(SSL_get_rbio(ssl), &wire); }

}  // namespace loom::tls::dtls
