#include "resume.h"

namespace loom::tls {

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
  SSL_SESSION* const s = it->second.release();
  sessions_.erase(it);
  std::erase(order_, key);
  return s;
}

}  // namespace loom::tls
