// One connection of these programs: OpenSSL on a socket, or the socket alone. The latter is for
// running under preload with LDP_TRANSPARENT_TLS, where the daemon speaks TLS.
#pragma once
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

enum class Outcome { kDone, kWantsRead, kWantsWrite, kEnd, kFailed };

// A context as a careful program has it: whole blocks are read from the socket, not a header and
// then a body, which costs two system calls a record.
inline SSL_CTX* new_context(const SSL_METHOD* method) {
  SSL_CTX* const c = SSL_CTX_new(method);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                          SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(c, 1);
  SSL_CTX_set_default_read_buffer_len(c, 64 << 10);
  return c;
}

class Channel {
 public:
  // Takes the socket over. `context`: null for the socket alone.
  Channel(int fd, SSL_CTX* context, bool is_server) : fd_(fd) {
    if (!context) return;
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd);
    is_server ? SSL_set_accept_state(ssl_) : SSL_set_connect_state(ssl_);
  }
  ~Channel() {
    SSL_free(ssl_);
    close(fd_);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  Outcome handshake() {
    ERR_clear_error();
    return ssl_ ? outcome(SSL_do_handshake(ssl_)) : Outcome::kDone;
  }
  Outcome read(char* to, size_t most, size_t& n) {
    if (!ssl_) return outcome(::read(fd_, to, most), n, Outcome::kWantsRead);
    ERR_clear_error();
    return outcome(SSL_read_ex(ssl_, to, most, &n));
  }
  Outcome write(const char* from, size_t size, size_t& n) {
    if (!ssl_) return outcome(::send(fd_, from, size, MSG_NOSIGNAL), n, Outcome::kWantsWrite);
    ERR_clear_error();
    return outcome(SSL_write_ex(ssl_, from, size, &n));
  }
  // Of the sending direction. A close_notify that does not fit at once is not worth waiting for.
  void end() {
    if (ssl_) SSL_shutdown(ssl_);
    ::shutdown(fd_, SHUT_WR);
  }

 private:
  Outcome outcome(int done) {
    if (done == 1) return Outcome::kDone;
    switch (SSL_get_error(ssl_, done)) {
      case SSL_ERROR_WANT_READ:
        return Outcome::kWantsRead;
      case SSL_ERROR_WANT_WRITE:
        return Outcome::kWantsWrite;
      case SSL_ERROR_ZERO_RETURN:
        return Outcome::kEnd;
      default:
        return Outcome::kFailed;
    }
  }
  static Outcome outcome(ssize_t done, size_t& n, Outcome when_full) {
    n = done > 0 ? static_cast<size_t>(done) : 0;
    if (done > 0) return Outcome::kDone;
    if (done == 0) return Outcome::kEnd;
    return errno == EAGAIN || errno == EINTR ? when_full : Outcome::kFailed;
  }

  const int fd_;
  SSL* ssl_ = nullptr;
};
