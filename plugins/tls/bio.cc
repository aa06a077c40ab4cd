// OpenSSL's BIO over a lower session's fifos: one copy into OpenSSL's record buffer, one out of it.
#include "bio.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "connection.h"

namespace loom::tls {
namespace {

void wait_for_room(Connection& c) noexcept {
  c.below().want_writable(
      static_cast<uint32_t>(std::min<std::size_t>(c.unsent.size(), kMaxRecord)));
}

Connection& of(BIO* b) noexcept { return *static_cast<Connection*>(BIO_get_data(b)); }

int read_ex(BIO* b, char* to, size_t most, size_t* got) noexcept {
  Connection& c = of(b);
  BIO_clear_retry_flags(b);
  AppSession lower = c.below();
  std::span<const std::byte> views[4];
  const uint32_t n = lower.peek(views);
  std::size_t done = 0;
  for (uint32_t i = 0; i < n && done < most; ++i) {
    const std::size_t part = std::min(views[i].size(), most - done);
    std::memcpy(to + done, views[i].data(), part);
    done += part;
  }
  *got = done;
  if (done == 0) {
    BIO_set_retry_read(b);
    return 0;
  }
  lower.consume(static_cast<uint32_t>(done));
  c.taken += static_cast<uint32_t>(done);
  return 1;
}

// Takes everything: what does not fit below waits in Connection::unsent, and nobody is to have what
// is made when the lower session has gone.
int write_ex(BIO* b, const char* from, size_t size, size_t* taken) noexcept {
  Connection& c = of(b);
  BIO_clear_retry_flags(b);
  *taken = size;
  if (c.gone) return 1;
  std::span<const std::byte> bytes = std::as_bytes(std::span(from, size));
  if (c.unsent.empty()) bytes = bytes.subspan(c.below().write(bytes));
  if (!bytes.empty()) {
    try {
      c.unsent.insert(c.unsent.end(), bytes.begin(), bytes.end());
    } catch (const std::bad_alloc&) {
      *taken = 0;
      return 0;  // the stream has a hole: OpenSSL gives the connection up
    }
    wait_for_room(c);
  }
  return 1;
}

long control(BIO*, int command, long, void*) noexcept { return command == BIO_CTRL_FLUSH; }

}  // namespace

BIO_METHOD* make_bio_method(const char* name, const BioCalls& calls) noexcept {
  BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, name);
  if (!made) return made;
  BIO_meth_set_read_ex(made, calls.read);
  BIO_meth_set_write_ex(made, calls.write);
  BIO_meth_set_ctrl(made, calls.control);
  return made;
}

bool attach_bio(SSL* ssl, BIO_METHOD* method, void* data) noexcept {
  BIO* const b = method ? BIO_new(method) : nullptr;
  if (!b) return false;
  BIO_set_data(b, data);
  BIO_set_init(b, 1);
  SSL_set_bio(ssl, b, b);
  return true;
}

bool attach_bio(Connection& c) noexcept {
  static BIO_METHOD* const method =
      make_bio_method("hostloom session", {read_ex, write_ex, control});
  return attach_bio(c.ssl, method, &c);
}

bool flush(Connection& c) noexcept {
  if (c.unsent.empty()) return true;
  const uint32_t n = c.below().write(c.unsent);
  c.unsent.erase(c.unsent.begin(), c.unsent.begin() + n);
  if (c.unsent.empty()) {
    c.unsent.shrink_to_fit();
    return true;
  }
  wait_for_room(c);
  return false;
}

}  // namespace loom::tls
