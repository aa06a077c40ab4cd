// BIOs of ours: OpenSSL's ends of sessions.
#pragma once
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <cstddef>

namespace loom::tls {

struct BioCalls {
  int (*read)(BIO*, char* to, std::size_t most, std::size_t* got);
  int (*write)(BIO*, const char* from, std::size_t size, std::size_t* taken);
  long (*control)(BIO*, int command, long number, void*);
};
// A kind of BIO, never freed. Null: no memory.
BIO_METHOD* make_bio_method(const char* name, const BioCalls&) noexcept;
// One of that kind, with that data, in both directions. False: no memory, or the kind is null.
bool attach_bio(SSL*, BIO_METHOD*, void* data) noexcept;

}  // namespace loom::tls
