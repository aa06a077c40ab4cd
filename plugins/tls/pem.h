// What PEM texts come to in OpenSSL's objects: certificates with their chains, and private keys.
#pragma once
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include <hostloom/secret.h>
#include <hostloom/status.h>

namespace loom::tls {

template <class T, void (*kFree)(T*)>
struct Free {
  void operator()(T* p) const noexcept { kFree(p); }
};
inline void free_chain(STACK_OF(X509) * s) noexcept { sk_X509_pop_free(s, X509_free); }
using X509Ptr = std::unique_ptr<X509, Free<X509, X509_free>>;
using ChainPtr = std::unique_ptr<STACK_OF(X509), Free<STACK_OF(X509), free_chain>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Free<X509_STORE, X509_STORE_free>>;

// A certificate with its chain, and its private key. PEM, the certificate itself first.
struct KeyPair {
  std::string certificate;
  SecretString key;
};

struct Credentials {
  X509Ptr certificate;
  ChainPtr chain;
  KeyPtr key;
};

// A key with a passphrase, or of more than 4096 bits, is refused. What OpenSSL has of the key's
// text in between is cleared.
Result<Credentials> read_credentials(const KeyPair&);
// The same, parsed once for all that have the same pair. Control thread.
using CredentialsPtr = std::shared_ptr<const Credentials>;
Result<CredentialsPtr> shared_credentials(const KeyPair&);
// The text's certificates and nothing else: a file may have the key as well.
std::string certificates_of(std::string_view pem);
// Calls fn(X509*) for each certificate of the text; how many there were. It does not keep them.
template <class F>
std::size_t for_each_certificate(std::string_view pem, F&& fn);

// The newest error of OpenSSL's queue, in its words; the queue is empty afterwards.
std::string openssl_error();
Error openssl_fail(const std::string& what);  // kInvalid, with that

// --- Inline parts

using BioPtr = std::unique_ptr<BIO, Free<BIO, BIO_free_all>>;
BioPtr pem_reader(std::string_view pem) noexcept;
X509Ptr next_certificate(BIO*) noexcept;  // null: there is no other, and perhaps an error

template <class F>
std::size_t for_each_certificate(std::string_view pem, F&& fn) {
  const BioPtr text = pem_reader(pem);
  std::size_t n = 0;
  for (X509Ptr x; (x = next_certificate(text.get())); ++n) fn(x.get());
  return n;
}

}  // namespace loom::tls
