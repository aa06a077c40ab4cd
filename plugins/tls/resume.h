// Sessions that a client may resume (RFC 8446 section 2.2), by what they were opened for. One
// worker.
//
// A session is kept under everything that its handshake has established: server, name, protocols,
// trust, certificates. Each is given out once (RFC 8446 section C.4): what a server has seen twice
// it can link.
#pragma once
#include <openssl/ssl.h>

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

namespace loom::tls {

// What its handshake has believed is to be believed no more: it is of no use. A session that is
// resumed again and again would outlive the peer's certificate, which nobody looks at then.
bool has_outlived_certificate(const SSL_SESSION*) noexcept;

class SessionCache {
 public:
  static constexpr std::size_t kMost = 1024;

  // Takes the reference over. The oldest of all goes when there are too many.
  void put(const std::string& key, SSL_SESSION* session);
  // The newest for that key, with its reference; null: none that is of use.
  SSL_SESSION* take(const std::string& key);
  std::size_t size() const noexcept { return sessions_.size(); }

 private:
  struct Free {
    void operator()(SSL_SESSION* s) const noexcept { SSL_SESSION_free(s); }
  };
  std::unordered_map<std::string, std::unique_ptr<SSL_SESSION, Free>> sessions_;
  std::deque<std::string> order_;  // the oldest first; keys may have gone
};

}  // namespace loom::tls
