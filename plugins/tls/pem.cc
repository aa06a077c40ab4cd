#include "pem.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <map>

#include "private_key.h"

namespace loom::tls {
namespace {

// One signature of 16384 bits takes a worker a second.
constexpr int kMostKeyBits = 4096;

// Nobody is there to be asked for a passphrase.
int nobody_is_asked(char*, int, int, void*) { return -1; }

// Of certificate and key, both: who knows a certificate has not its key.
std::string digest_of(const KeyPair& pair) {
  std::string digest(EVP_MAX_MD_SIZE, 0);
  unsigned n = 0;
  const uint64_t size = pair.certificate.size();
  EVP_MD_CTX* const c = EVP_MD_CTX_new();
  const bool is_good =
      c && EVP_DigestInit_ex(c, EVP_sha256(), nullptr) == 1 &&
      EVP_DigestUpdate(c, &size, sizeof size) == 1 &&
      EVP_DigestUpdate(c, pair.certificate.data(), pair.certificate.size()) == 1 &&
      EVP_DigestUpdate(c, pair.key.data(), pair.key.size()) == 1 &&
      EVP_DigestFinal_ex(c, reinterpret_cast<unsigned char*>(digest.data()), &n) == 1;
  EVP_MD_CTX_free(c);
  digest.resize(is_good ? n : 0);
  return digest;
}

}  // namespace

std::string certificates_of(std::string_view pem) {
  constexpr std::string_view kBegin = "-----BEGIN ", kDashes = "-----", kKind = "CERTIFICATE";
  std::string out;
  for (std::size_t at = 0; (at = pem.find(kBegin, at)) != pem.npos;) {
    const std::size_t name = at + kBegin.size();
    const std::size_t end = pem.find(kDashes, name);
    if (end == pem.npos) break;
    const std::string_view kind = pem.substr(name, end - name);
    const std::string last = "-----END " + std::string(kind) + "-----";
    const std::size_t over = pem.find(last, end);
    if (over == pem.npos) break;
    if (kind.ends_with(kKind)) out.append(pem.substr(at, over + last.size() - at)).append("\n");
    at = over + last.size();
  }
  return out;
}

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
  return X509Ptr(PEM_read_bio_X509(text, nullptr, nobody_is_asked, nullptr));
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
  c.key = read_private_key(pair.key);
  if (!c.key) return openssl_fail("the private key");
  if (EVP_PKEY_get_bits(c.key.get()) > kMostKeyBits)
    return error(Status::kInvalid, "the private key has " +
                                       std::to_string(EVP_PKEY_get_bits(c.key.get())) +
                                       " bits, more than " + std::to_string(kMostKeyBits));
  if (X509_check_private_key(c.certificate.get(), c.key.get()) != 1)
    return openssl_fail("certificate and key");
  return c;
}

Result<CredentialsPtr> shared_credentials(const KeyPair& pair) {
  static std::map<std::string, std::weak_ptr<const Credentials>> known;
  const std::string digest = digest_of(pair);
  if (const auto found = known.find(digest); found != known.end() && !digest.empty())
    if (auto there = found->second.lock()) return there;
  auto made = read_credentials(pair);
  if (!made) return made.error();
  std::erase_if(known, [](const auto& k) { return k.second.expired(); });
  const auto fresh = std::make_shared<const Credentials>(std::move(*made));
  if (!digest.empty()) known[digest] = fresh;
  return fresh;
}

}  // namespace loom::tls
