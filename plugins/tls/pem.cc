#include "pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

namespace loom::tls {
namespace {

// One signature of 16384 bits takes a worker a second.
constexpr int kMostKeyBits = 4096;

// Nobody is there to be asked for a passphrase.
int no_passphrase(char*, int, int, void*) { return -1; }

}  // namespace

std::string openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "not taken";
  const char* reason = ERR_reason_error_string(code);
  return reason ? reason : "error " + std::to_string(code);
}

Error openssl_fail(const std::string& what) {
  return {Status::kInvalid, what + ": " + openssl_error()};
}

BioPtr pem_reader(std::string_view pem) noexcept {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

X509Ptr next_certificate(BIO* text) noexcept {
  return X509Ptr(PEM_read_bio_X509(text, nullptr, no_passphrase, nullptr));
}

Result<Credentials> read_credentials(const KeyPair& pair) {
  Credentials c;
  const BioPtr text = pem_reader(pair.certificate);
  c.certificate = next_certificate(text.get());
  if (!c.certificate) return openssl_fail("the certificate");
  c.chain.reset(sk_X509_new_null());
  for (X509Ptr next; (next = next_certificate(text.get()));)
    if (sk_X509_push(c.chain.get(), next.get())) (void)next.release();
  ERR_clear_error();  // the end of the text is one
  const BioPtr key_text = pem_reader(pair.key);
  c.key.reset(PEM_read_bio_PrivateKey(key_text.get(), nullptr, no_passphrase, nullptr));
  if (!c.key) return openssl_fail("the private key");
  if (EVP_PKEY_get_bits(c.key.get()) > kMostKeyBits)
    return error(Status::kInvalid, "the private key has " +
                                       std::to_string(EVP_PKEY_get_bits(c.key.get())) +
                                       " bits, more than " + std::to_string(kMostKeyBits));
  if (X509_check_private_key(c.certificate.get(), c.key.get()) != 1)
    return openssl_fail("certificate and key");
  return c;
}

}  // namespace loom::tls
