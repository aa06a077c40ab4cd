// OpenSSL's settings of many connections: certificates, trust, versions. Made on the control
// thread, used by all workers.
#pragma once
#include <openssl/ssl.h>

#include <memory>
#include <string>

#include <hostloom/status.h>

#include "client_settings.h"
#include "config.h"

namespace loom::tls {

// What it needs besides (other certificates, names of protocols) it owns; OpenSSL's sessions hold
// it, too.
using ContextPtr = std::unique_ptr<SSL_CTX, Free<SSL_CTX, SSL_CTX_free>>;

// With the settings' certificates, or the configuration's. The store is shared with others.
Result<ContextPtr> make_server_context(const Config&, const Settings&, X509_STORE*);
Result<ContextPtr> make_client_context(const Config&, X509_STORE*);
// What a connection wants beside its context. Worker.
Result<void> apply_client_settings(SSL*, const ClientSettings&, const IpAddress& server);

}  // namespace loom::tls
