#include "private_key.h"

#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

// The calls for one kind of key are deprecated: those for all kinds are the ones that leave copies.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace loom::tls {
namespace {

using InfoPtr =
    std::unique_ptr<PKCS8_PRIV_KEY_INFO, Free<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>>;
struct FreeEc {
  void operator()(EC_KEY* k) const noexcept { EC_KEY_free(k); }
};
using EcPtr = std::unique_ptr<EC_KEY, FreeEc>;
using PointPtr = std::unique_ptr<EC_POINT, Free<EC_POINT, EC_POINT_free>>;

struct Der {
  unsigned char* data = nullptr;
  long size = 0;
  char* name = nullptr;  // "PRIVATE KEY"
  ~Der() {
    OPENSSL_secure_clear_free(data, static_cast<std::size_t>(size));
    OPENSSL_free(name);
  }
};

// Nobody is there to be asked for a passphrase.
int no_passphrase(char*, int, int, void*) { return -1; }

// The element of that tag that is next; `at` is behind its head then. Its size, or -1.
long element(const unsigned char*& at, long left, int wanted) noexcept {
  long size = 0;
  int tag = 0, kind = 0;
  const unsigned char* const begin = at;
  const int flags = ASN1_get_object(&at, &size, &tag, &kind, left);
  if ((flags & 0x81) != 0 || tag != wanted || size > left - (at - begin)) return -1;
  return size;
}

KeyPtr rsa_key(const unsigned char* der, long size) noexcept {
  KeyPtr key(EVP_PKEY_new());
  RSA* const rsa = key ? d2i_RSAPrivateKey(nullptr, &der, size) : nullptr;
  if (!rsa || EVP_PKEY_assign_RSA(key.get(), rsa) != 1) {
    RSA_free(rsa);
    return {};
  }
  return key;
}

// RFC 5915: SEQUENCE { 1, private key, [0] curve, [1] public key }, the last two may not be there.
// d2i_ECPrivateKey would leave the private one behind.
KeyPtr ec_key(int curve, const unsigned char* der, long size) noexcept {
  const unsigned char* at = der;
  const long all = element(at, size, V_ASN1_SEQUENCE);
  if (all < 0) return {};
  const unsigned char* const end = at + all;
  const long version = element(at, end - at, V_ASN1_INTEGER);
  if (version != 1 || *at != 1) return {};
  at += version;
  const long n = element(at, end - at, V_ASN1_OCTET_STRING);
  if (n <= 0) return {};
  const unsigned char* const secret = at;
  at += n;
  if (curve == NID_undef) {
    if (element(at, end - at, 0) < 0) return {};
    ASN1_OBJECT* const named = d2i_ASN1_OBJECT(nullptr, &at, end - at);
    curve = OBJ_obj2nid(named);
    ASN1_OBJECT_free(named);
  }
  EcPtr ec(EC_KEY_new_by_curve_name(curve));
  if (!ec || EC_KEY_oct2priv(ec.get(), secret, static_cast<std::size_t>(n)) != 1) return {};
  const EC_GROUP* const group = EC_KEY_get0_group(ec.get());
  const PointPtr point(EC_POINT_new(group));
  if (!point ||
      EC_POINT_mul(group, point.get(), EC_KEY_get0_private_key(ec.get()), nullptr, nullptr,
                   nullptr) != 1 ||
      EC_KEY_set_public_key(ec.get(), point.get()) != 1 || EC_KEY_check_key(ec.get()) != 1)
    return {};
  KeyPtr key(EVP_PKEY_new());
  if (!key || EVP_PKEY_assign_EC_KEY(key.get(), ec.get()) != 1) return {};
  (void)ec.release();
  return key;
}

KeyPtr pkcs8_key(const Der& der) noexcept {
  const unsigned char *at = der.data, *inner = nullptr;
  const InfoPtr info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, der.size));
  const X509_ALGOR* algorithm = nullptr;
  int size = 0;
  if (!info || PKCS8_pkey_get0(nullptr, &inner, &size, &algorithm, info.get()) != 1) return {};
  const ASN1_OBJECT* kind = nullptr;
  int type = 0;
  const void* parameters = nullptr;
  X509_ALGOR_get0(&kind, &type, &parameters, algorithm);
  switch (OBJ_obj2nid(kind)) {
    case NID_rsaEncryption:
      return rsa_key(inner, size);
    case NID_X9_62_id_ecPublicKey:
      if (type == V_ASN1_OBJECT)  // a curve with a name
        return ec_key(OBJ_obj2nid(static_cast<const ASN1_OBJECT*>(parameters)), inner, size);
      break;
    default:
      break;
  }
  at = der.data;
  return KeyPtr(d2i_AutoPrivateKey(nullptr, &at, der.size));
}

}  // namespace

KeyPtr read_private_key(std::string_view pem) noexcept {
  const BioPtr text = pem_reader(pem);
  Der der;
  if (PEM_bytes_read_bio_secmem(&der.data, &der.size, &der.name, PEM_STRING_EVP_PKEY, text.get(),
                                no_passphrase, nullptr) != 1)
    return {};
  const std::string_view name = der.name;
  if (name == PEM_STRING_PKCS8INF) return pkcs8_key(der);
  if (name == PEM_STRING_RSA) return rsa_key(der.data, der.size);
  if (name == PEM_STRING_ECPRIVATEKEY) return ec_key(NID_undef, der.data, der.size);
  if (name == PEM_STRING_PKCS8) return {};
  const unsigned char* at = der.data;
  return KeyPtr(d2i_AutoPrivateKey(nullptr, &at, der.size));
}

}  // namespace loom::tls
