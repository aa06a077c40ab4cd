#include "resume.h"

#include <openssl/x509.h>

namespace loom::tls {

bool has_outlived_certificate(const SSL_SESSION* session) noexcept {
  const X509* const peer = SSL_SESSION_get0_peer(const_cast<SSL_SESSION*>(session));
  return peer && X509_cmp_current_time(X509_get0_notAfter(peer)) != 1;
}

void SessionCache::put(const std::string& key, SSL_SESSION* session) {
  std::unique_ptr<SSL_SESSION, Free> mine(session);
  const auto [it, is_new] = sessions_.try_emplace(key);
  it->second = std::move(mine);
  if (is_new) order_.push_back(key);
  while (order_.size() > kMost) {
    sessions_.erase(order_.front());
    order_.pop_front();
  }
}

SSL_SESSION* SessionCache::take(const std::string& key) {
  const auto it = sessions_.find(key);
  if (it == sessions_.end()) return nullptr;
  auto s = std::move(it->second);
  sessions_.erase(it);
  std::erase(order_, key);
  return has_outlived_certificate(s.get()) ? nullptr : s.release();
}

}  // namespace loom::tls
