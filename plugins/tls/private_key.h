// A private key out of its PEM, without a copy of it in memory that was freed. What OpenSSL 3.0's
// own readers (PEM_read_bio_PrivateKey, d2i_AutoPrivateKey) allocate on the way they do not clear,
// a dozen times for each key.
#pragma once
#include <string_view>

#include "pem.h"

namespace loom::tls {

// RSA and EC, in PKCS #8 (RFC 5958) or in their own form (RFC 8017 appendix A.1.2, RFC 5915).
// Others are read by OpenSSL's way. Null: it is no key, or it has a passphrase.
KeyPtr read_private_key(std::string_view pem) noexcept;

}  // namespace loom::tls
