// OpenSSL's settings of many connections: certificates, trust, versions. Made on the control
// thread, used by all workers.
#pragma once
#include <openssl/ssl.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/status.h>

#include "client_settings.h"
#include "config.h"
#include "early_sessions.h"
#include "sites.h"
#include "tickets.h"

namespace loom::tls {

using ContextPtr = std::unique_ptr<SSL_CTX, Free<SSL_CTX, SSL_CTX_free>>;

// A listener's, and what OpenSSL calls back for. A connection has it as long as its SSL.
struct ServerContext : std::enable_shared_from_this<ServerContext> {
  explicit ServerContext(TimeNs ticket_lifetime)
      : early_sessions(ticket_lifetime), tickets(ticket_lifetime) {}
  EarlySessions early_sessions;  // of the context's cache: goes after it
  ContextPtr ssl;
  TicketKeys tickets;
  std::vector<CredentialsPtr> sites;  // to choose from by name
  Offer usual;                        // the context's own; of those
  std::string alpn;
};
using ServerContextPtr = std::shared_ptr<ServerContext>;

// Of connections to servers: the stanza's, and one for each profile. Null: nothing that DTLS has.
struct Clients {
  std::shared_ptr<SSL_CTX> usual;
  std::map<std::string, std::shared_ptr<SSL_CTX>, std::less<>> of_profiles;
};
// What a connection that names this profile gets; "": none. kInvalid: there is no such one.
Status find_client(const Clients&, std::string_view profile,
                   std::shared_ptr<SSL_CTX>& out) noexcept;

// With the settings' certificates, or the configuration's. The store is shared with others. One
// context, however many certificates there are, and those that somebody has given are parsed.
Result<ServerContextPtr> make_server_context(const Config&, const Settings&, X509_STORE*);
Result<Clients> make_clients(const Config&, X509_STORE*);
// What a connection wants beside its context. Worker.
Result<void> apply_client_settings(SSL*, const ClientSettings&, const IpAddress& server);

}  // namespace loom::tls
