// Cookies: HMAC-SHA256 of both ends, under keys that change.
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstring>

#include "dtls.h"

namespace loom::tls::dtls {
namespace {

bool digest(const std::array<unsigned char, 32>& key, const Endpoints& e,
            CookieKeys::Cookie& out) noexcept {
  unsigned char text[37];
  std::memcpy(text, e.remote.bits.bytes.data(), 16);
  std::memcpy(text + 16, e.local.bits.bytes.data(), 16);
  std::memcpy(text + 32, &e.remote_port, 2);
  std::memcpy(text + 34, &e.local_port, 2);
  text[36] = e.remote.is_ip4;
  unsigned n = 0;
  return HMAC(EVP_sha256(), key.data(), key.size(), text, sizeof text, out.data(), &n) &&
         n == out.size();
}

}  // namespace

CookieKeys::~CookieKeys() { OPENSSL_cleanse(keys_, sizeof keys_); }

bool CookieKeys::turn(TimeNs now) noexcept {
  if (since_ != 0 && now - since_ < kCookieLifetime) return true;
  has_previous_ = since_ != 0 && now - since_ < 2 * kCookieLifetime;
  keys_[1] = keys_[0];
  if (RAND_bytes(keys_[0].data(), static_cast<int>(keys_[0].size())) != 1) return false;
  since_ = now;
  return true;
}

bool CookieKeys::make(TimeNs now, const Endpoints& ends, Cookie& out) noexcept {
  return turn(now) && digest(keys_[0], ends, out);
}

bool CookieKeys::check(TimeNs now, const Endpoints& ends,
                       std::span<const unsigned char> cookie) noexcept {
  Cookie expected;
  if (cookie.size() != expected.size() || !turn(now)) return false;
  for (int i = 0; i < (has_previous_ ? 2 : 1); ++i)
    if (digest(keys_[i], ends, expected) &&
        CRYPTO_memcmp(expected.data(), cookie.data(), expected.size()) == 0)
      return true;
  return false;
}

}  // namespace loom::tls::dtls
