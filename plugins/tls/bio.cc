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
  *got = copy_unread(c, std::as_writable_bytes(std::span(to, most)));
  if (*got == 0) {
    BIO_set_retry_read(b);
    return 0;
  }
  consume(c, *got);
  return 1;
}

// Takes everything, or else OpenSSL gives the connection up.
int write_ex(BIO* b, const char* from, size_t size, size_t* taken) noexcept {
  BIO_clear_retry_flags(b);
  *taken = send_below(of(b), std::as_bytes(std::span(from, size))) ? size : 0;
  return *taken == size;
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

std::size_t copy_unread(const Connection& c, std::span<std::byte> to) noexcept {
  std::span<const std::byte> views[4];
  const uint32_t n = c.below().peek(views);
  std::size_t done = 0;
  for (uint32_t i = 0; i < n && done < to.size(); ++i) {
    const std::size_t part = std::min(views[i].size(), to.size() - done);
    std::memcpy(to.data() + done, views[i].data(), part);
    done += part;
  }
  return done;
}

void consume(Connection& c, std::size_t n) noexcept {
  c.below().consume(static_cast<uint32_t>(n));
  c.taken += static_cast<uint32_t>(n);
}

bool append(std::vector<std::byte>& to, std::span<const std::byte> bytes) noexcept {
  try {
    to.insert(to.end(), bytes.begin(), bytes.end());
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool send_below(Connection& c, std::span<const std::byte> bytes) noexcept {
  if (c.gone || c.said_close) return true;
  if (c.unsent.empty()) bytes = bytes.subspan(c.below().write(bytes));
  if (bytes.empty()) return true;
  if (!append(c.unsent, bytes)) return false;
  wait_for_room(c);
  return true;
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
