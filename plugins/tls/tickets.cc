#include "tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <strings.h>
#include <time.h>

#include <cstring>
#include <span>

#include "hello.h"
#include "resume.h"

namespace loom::tls {

TimeNs steady_now() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<TimeNs>(t.tv_sec) * kSecond + static_cast<TimeNs>(t.tv_nsec);
}

namespace {

int keys_index() noexcept {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

bool start_mac(EVP_MAC_CTX* mac, const TicketKeys::Key& key) noexcept {
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY,
                                        const_cast<unsigned char*>(key.mac.data()), key.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, params) == 1;
}

// OpenSSL's callback: -1 failure, 0 no ticket (or not one of ours), 1 good, 2 good and to be
// renewed.
int use_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
            EVP_MAC_CTX* mac, int is_writing) noexcept {
  auto* keys = static_cast<TicketKeys*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), keys_index()));
  if (!keys) return -1;
  TicketKeys::Key key;
  bool is_old = false;
  int done = -1;
  if (is_writing) {
    if (keys->writing(steady_now(), key) && RAND_bytes(iv, 16) == 1 &&
        EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv) == 1 &&
        start_mac(mac, key)) {
      std::memcpy(name, key.name.data(), key.name.size());
      done = 1;
    }
  } else if (!keys->reading(steady_now(), name, key, is_old)) {
    done = 0;  // a whole handshake, then
  } else if (start_mac(mac, key) &&
             EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv) == 1) {
    // A client of TLS 1.3 uses each ticket once: it gets another (RFC 8446 section C.4).
    // Numbers of DTLS are other ones, and 1.2 is all there is of it.
    const bool is_used_once = SSL_is_dtls(ssl) == 0 && SSL_version(ssl) >= TLS1_3_VERSION;
    done = is_old || is_used_once ? 2 : 1;
  }
  OPENSSL_cleanse(&key, sizeof key);
  return done;
}

// Which the hello asks for: OpenSSL has not come to it yet when it has a ticket of TLS 1.2.
std::string_view name_asked_for(SSL* ssl) noexcept {
  const unsigned char* extension = nullptr;
  std::size_t n = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &n) != 1) return {};
  return name_in(std::as_bytes(std::span(extension, n)));
}

// OpenSSL's callback, for a ticket that it has read, or not.
SSL_TICKET_RETURN look_at_ticket(SSL* ssl, SSL_SESSION* session, const unsigned char*, std::size_t,
                                 SSL_TICKET_STATUS status, void*) noexcept {
  const bool is_to_renew = status == SSL_TICKET_SUCCESS_RENEW;
  const bool is_read = status == SSL_TICKET_SUCCESS || is_to_renew;
  if (!is_read || !is_same_name(name_asked_for(ssl), SSL_SESSION_get0_hostname(session)) ||
      has_outlived_certificate(session))
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  return is_to_renew ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_USE;
}

}  // namespace

bool is_same_name(std::string_view asked_for, const char* kept) noexcept {
  const std::string_view other = kept ? kept : "";
  return asked_for.size() == other.size() &&
         (other.empty() || ::strncasecmp(asked_for.data(), other.data(), other.size()) == 0);
}

TicketKeys::~TicketKeys() { OPENSSL_cleanse(keys_, sizeof keys_); }

bool TicketKeys::attach(SSL_CTX* c) noexcept {
  return SSL_CTX_set_ex_data(c, keys_index(), this) == 1 &&
         SSL_CTX_set_tlsext_ticket_key_evp_cb(c, use_key) == 1 &&
         SSL_CTX_set_session_ticket_cb(c, nullptr, look_at_ticket, nullptr) == 1;
}

bool TicketKeys::turn(TimeNs now) noexcept {
  if (since_ != 0 && now - since_ < lifetime_) return true;
  Key fresh;
  if (RAND_bytes(fresh.name.data(), 16) != 1 || RAND_priv_bytes(fresh.cipher.data(), 32) != 1 ||
      RAND_priv_bytes(fresh.mac.data(), 32) != 1)
    return false;
  // After a pause of two lifetimes nothing that was written is to be read any more.
  has_previous_ = since_ != 0 && now - since_ < 2 * lifetime_;
  if (has_previous_)
    keys_[1] = keys_[0];
  else
    OPENSSL_cleanse(&keys_[1], sizeof keys_[1]);
  keys_[0] = fresh;
  OPENSSL_cleanse(&fresh, sizeof fresh);
  since_ = now;
  return true;
}

bool TicketKeys::writing(TimeNs now, Key& out) noexcept {
  const std::lock_guard lock(mutex_);
  if (!turn(now)) return false;
  out = keys_[0];
  return true;
}

bool TicketKeys::reading(TimeNs now, const unsigned char* name, Key& out, bool& is_old) noexcept {
  const std::lock_guard lock(mutex_);
  if (since_ == 0 || !turn(now)) return false;
  for (int i = 0; i < 1 + has_previous_; ++i)
    if (CRYPTO_memcmp(name, keys_[i].name.data(), keys_[i].name.size()) == 0) {
      out = keys_[i];
      is_old = i != 0;
      return true;
    }
  return false;
}

}  // namespace loom::tls
