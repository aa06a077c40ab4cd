// OpenSSL's settings of many connections: certificates, trust, versions. Made on the control
// thread, used by all workers.
#pragma once
#include <openssl/ssl.h>

#include <memory>
#include <string>

#include <hostloom/status.h>

#include "config.h"
#include "settings.h"

namespace loom::tls {

struct FreeContext {
  void operator()(SSL_CTX* c) const noexcept { SSL_CTX_free(c); }
};
struct FreeStore {
  void operator()(X509_STORE* s) const noexcept { X509_STORE_free(s); }
};
using StorePtr = std::unique_ptr<X509_STORE, FreeStore>;
// What it needs besides (other certificates, names of protocols) it owns; OpenSSL's sessions hold
// it, too.
using ContextPtr = std::unique_ptr<SSL_CTX, FreeContext>;

// Whom the configuration believes, and what it has revoked. Files are read here alone, except for a
// folder's, which are read when they are needed.
Result<StorePtr> make_store(const Config&);
// With the settings' certificates, or the configuration's. The store is shared with others.
Result<ContextPtr> make_server_context(const Config&, const Settings&, X509_STORE*);
Result<ContextPtr> make_client_context(const Config&, X509_STORE*);
// What a connection wants beside its context. Worker.
Result<void> apply_client_settings(SSL*, const Settings&, const IpAddress& server);

// The newest error of OpenSSL's queue, in its words; the queue is empty afterwards.
std::string openssl_error();

}  // namespace loom::tls
