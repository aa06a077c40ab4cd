// Certificates made for a test: an authority, and what it signs. PEM.
#pragma once
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

namespace loom::tls {

struct Pem {
  std::string certificate, key;
  std::shared_ptr<X509> x509;
  std::shared_ptr<EVP_PKEY> pkey;
};

struct Wanted {
  std::string names = "DNS:server.test,IP:10.0.0.0";  // subjectAltName; "": none
  const Pem* issuer = nullptr;                        // null: self-signed
  bool is_authority = false;
  long from = -3600, until = 24 * 3600;  // seconds from now
  const char* key_type = "EC";           // "RSA", "EC", "ED25519"
  long serial = 1;
};

inline std::string text_of(BIO* b) {
  char* data = nullptr;
  const long n = BIO_get_mem_data(b, &data);
  std::string text(data, static_cast<std::size_t>(n));
  BIO_free(b);
  return text;
}

inline EVP_PKEY* make_key(const std::string& type) {
  if (type == "RSA") return EVP_RSA_gen(2048);
  if (type == "RSA 4104") {  // of small primes, which are found soon
    EVP_PKEY* key = nullptr;
    EVP_PKEY_CTX* const c = EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr);
    EVP_PKEY_keygen_init(c);
    EVP_PKEY_CTX_set_rsa_keygen_bits(c, 4104);
    EVP_PKEY_CTX_set_rsa_keygen_primes(c, 4);
    EVP_PKEY_keygen(c, &key);
    EVP_PKEY_CTX_free(c);
    return key;
  }
  if (type == "EC") return EVP_EC_gen("P-256");
  return EVP_PKEY_Q_keygen(nullptr, nullptr, type.c_str());
}

// What the authority has revoked: one serial number. until: seconds from now.
inline std::string make_crl(const Pem& authority, long serial, long until = 24 * 3600) {
  X509_CRL* const crl = X509_CRL_new();
  X509_CRL_set_version(crl, 1);
  X509_CRL_set_issuer_name(crl, X509_get_subject_name(authority.x509.get()));
  ASN1_TIME* const at = X509_gmtime_adj(nullptr, -3600);
  X509_CRL_set1_lastUpdate(crl, at);
  X509_REVOKED* const revoked = X509_REVOKED_new();
  ASN1_INTEGER* const number = ASN1_INTEGER_new();
  ASN1_INTEGER_set(number, serial);
  X509_REVOKED_set_serialNumber(revoked, number);
  X509_REVOKED_set_revocationDate(revoked, at);
  X509_CRL_add0_revoked(crl, revoked);
  ASN1_INTEGER_free(number);
  X509_gmtime_adj(at, until);
  X509_CRL_set1_nextUpdate(crl, at);
  ASN1_TIME_free(at);
  X509_CRL_sign(crl, authority.pkey.get(), EVP_sha256());
  BIO* const b = BIO_new(BIO_s_mem());
  PEM_write_bio_X509_CRL(b, crl);
  X509_CRL_free(crl);
  return text_of(b);
}

inline Pem make_certificate(const Wanted& w) {
  Pem p;
  p.pkey.reset(make_key(w.key_type), EVP_PKEY_free);
  p.x509.reset(X509_new(), X509_free);
  X509* x = p.x509.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), w.serial);
  X509_gmtime_adj(X509_getm_notBefore(x), w.from);
  X509_gmtime_adj(X509_getm_notAfter(x), w.until);
  X509_set_pubkey(x, p.pkey.get());
  std::string cn = w.is_authority ? "authority" : "holder";  // one of an authority's has a number
  if (!w.is_authority || w.issuer) cn += " " + std::to_string(w.serial);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(cn.c_str()), -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(w.issuer ? w.issuer->x509.get() : x));
  X509V3_CTX context;
  X509V3_set_ctx(&context, w.issuer ? w.issuer->x509.get() : x, x, nullptr, nullptr, 0);
  const auto extend = [&](int nid, const std::string& value) {
    X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
  };
  if (w.is_authority) extend(NID_basic_constraints, "critical,CA:TRUE");
  if (!w.names.empty() && !w.is_authority) extend(NID_subject_alt_name, w.names);
  EVP_PKEY* signer = w.issuer ? w.issuer->pkey.get() : p.pkey.get();
  X509_sign(x, signer, EVP_PKEY_get_id(signer) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256());
  BIO* b = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(b, x);
  p.certificate = text_of(b);
  b = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(b, p.pkey.get(), nullptr, nullptr, 0, nullptr, nullptr);
  p.key = text_of(b);
  return p;
}

}  // namespace loom::tls
