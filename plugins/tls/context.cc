// Contexts: what a configuration and a key pair come to in OpenSSL.
#include "context.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "connection.h"
#include "gcm_provider.h"
#include "tickets.h"
#include "trust.h"

namespace loom::tls {
namespace {

// Of a client's messages to a DTLS server, without a certificate and with its chain: bytes.
constexpr long kMostFlight = 16 << 10, kMostChain = 32 << 10;
// That a listener keeps for tickets which may bring early data; the oldest goes first.
constexpr long kMostSessions = 16'384;

// One line a secret, by one call: lines of several workers do not mix.
void log_key(const SSL* ssl, const char* line) noexcept {
  const auto fd = reinterpret_cast<intptr_t>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  char end[] = "\n";
  const iovec parts[2] = {{const_cast<char*>(line), std::strlen(line)}, {end, 1}};
  (void)!::writev(static_cast<int>(fd), parts, 2);
}

Result<void> log_keys(SSL_CTX* c, const std::string& path) {
  static std::string opened_path;  // one file for all contexts; control thread
  static int fd = -1;
  if (fd < 0 || opened_path != path) {
    const int opened =
        ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    // One that was there before has the rights that somebody else gave it.
    struct stat s {};
    if (opened < 0 || ::fstat(opened, &s) != 0 ||
        (S_ISREG(s.st_mode) && (s.st_mode & 0777) != 0600 && ::fchmod(opened, 0600) != 0)) {
      const int why = errno;
      if (opened >= 0) ::close(opened);
      return error(Status::kInvalid, "key-log " + path + ": " + std::strerror(why));
    }
    fd = opened;
    opened_path = path;
  }
  SSL_CTX_set_app_data(c, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  SSL_CTX_set_keylog_callback(c, log_key);
  return {};
}

// OpenSSL 3's servers have no cipher for them in DTLS 1.2: every handshake would fail.
bool has_no_datagrams(const EVP_PKEY* key) noexcept {
  return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");
}
bool has_no_datagrams(const Profile& p) noexcept { return p.least_version == TLS1_3_VERSION; }

Result<ContextPtr> make_context(const SSL_METHOD* method, const Config& config,
                                const Profile& profile, X509_STORE* store) {
  if (config.datagrams && has_no_datagrams(profile))
    return error(Status::kUnsupported, "DTLS 1.2 is older than min-version 1.3");
  ContextPtr c(SSL_CTX_new_ex(nullptr, gcm_properties(config.fast_gcm), method));
  if (!c) return error(Status::kNoMemory, openssl_error());
  SSL_CTX* const raw = c.get();
  const int oldest = profile.least_version ? profile.least_version : TLS1_2_VERSION;
  const int least = config.datagrams ? DTLS1_2_VERSION : oldest;
  const int most = config.datagrams ? DTLS1_2_VERSION : profile.most_version;
  if (SSL_CTX_set_min_proto_version(raw, least) != 1 ||
      SSL_CTX_set_max_proto_version(raw, most) != 1)
    return openssl_fail("the versions");
  if (!profile.ciphers.empty() && SSL_CTX_set_cipher_list(raw, profile.ciphers.c_str()) != 1)
    return openssl_fail("ciphers " + profile.ciphers);
  if (!profile.ciphersuites.empty() &&
      SSL_CTX_set_ciphersuites(raw, profile.ciphersuites.c_str()) != 1)
    return openssl_fail("ciphersuites " + profile.ciphersuites);
  if (!profile.groups.empty() && SSL_CTX_set1_groups_list(raw, profile.groups.c_str()) != 1)
    return openssl_fail("groups " + profile.groups);
  if (!config.key_log.empty())
    if (auto r = log_keys(raw, config.key_log); !r) return r.error();
  // Handshakes hold no buffers while they wait; sessions do while they are at work (buffers.cc).
  // Renegotiation is refused (RFC 5746 or not), compression too.
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // One record a call: a peer's KeyUpdates (RFC 8446 section 4.6.3) count like its data.
  SSL_CTX_clear_mode(raw, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_options(
      raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set1_cert_store(raw, store);
  return c;
}

// The first of ours that the client offers (RFC 7301 section 3.2), or the alert.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* n, const unsigned char* offered,
                    unsigned offered_size, void* arg) {
  const std::string& ours = static_cast<const ServerContext*>(arg)->alpn;
  unsigned char* chosen = nullptr;
  const int found =
      SSL_select_next_proto(&chosen, n, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), offered, offered_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// The certificates for the name that the client asks for; the context's own when there is none.
int choose_site(SSL* ssl, int*, void* arg) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (!name) return SSL_TLSEXT_ERR_NOACK;
  // Its tickets are for this name (tickets.h); OpenSSL keeps only those that are acknowledged.
  // Without memory they are for none, and nobody resumes by them.
  if (SSL_session_reused(ssl) == 0) (void)SSL_SESSION_set1_hostname(SSL_get_session(ssl), name);
  const auto& c = *static_cast<const ServerContext*>(arg);
  if (c.sites.size() == 1) return SSL_TLSEXT_ERR_NOACK;
  const Offer offer = offer_for(c.sites, name);
  if (offer.is_empty()) return SSL_TLSEXT_ERR_NOACK;
  if (offer == c.usual) return SSL_TLSEXT_ERR_OK;
  SSL_certs_clear(ssl);  // those of other kinds of keys would stay
  return use(ssl, offer) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// Early data is for the name under which its ticket was given.
int is_for_this_name(SSL* ssl, void*) noexcept {
  const char* now = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return is_same_name(now ? now : "", SSL_SESSION_get0_hostname(SSL_get0_session(ssl)));
}

}  // namespace

int keep_session(SSL* ssl, SSL_SESSION* session) noexcept {
  auto* c = static_cast<Connection*>(SSL_get_app_data(ssl));
  if (!c || c->resume_key.empty() || !SSL_SESSION_is_resumable(session)) return 0;
  try {
    c->at->sessions.put(c->resume_key, session);
    return 1;
  } catch (const std::bad_alloc&) {
    return 1;  // it was put, or freed with what was to be put
  }
}

Complaints take_complaints(const SSL* ssl) noexcept {
  Complaints all;
  while (const unsigned long code = ERR_get_error()) {
    if (ERR_GET_LIB(code) != ERR_LIB_SSL) continue;
    const int reason = ERR_GET_REASON(code);
    if (reason >= SSL_AD_REASON_OFFSET)
      ++all.alerts;
    else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && SSL_get_verify_result(ssl) != X509_V_OK)
      ++all.mistrusted;
  }
  return all;
}

void count(TlsWorker& t, const Complaints& all) noexcept {
  t.stats[kAlertsReceived] += all.alerts;
  t.stats[kVerifyFailed] += all.mistrusted;
}

Result<ServerContextPtr> make_server_context(const Config& config, const Settings& settings,
                                             X509_STORE* store) {
  const Profile* const profile = profile_of(config, settings.profile);
  if (!profile)
    return error(Status::kInvalid, "there is no profile " + settings.profile + " in tls { }");
  auto made = make_context(config.datagrams ? DTLS_server_method() : TLS_server_method(), config,
                           *profile, store);
  if (!made) return made.error();
  const auto c = std::make_shared<ServerContext>(config.ticket_lifetime);
  c->ssl = std::move(*made);
  SSL_CTX* const raw = c->ssl.get();
  const auto add_site = [&](const KeyPair& pair) -> Result<void> {
    auto site = shared_credentials(pair);
    if (!site) return site.error();
    if (!config.datagrams || !has_no_datagrams((*site)->key.get()))
      c->sites.push_back(std::move(*site));
    return {};
  };
  for (const KeyPair& pair : settings.pairs)
    if (auto added = add_site(pair); !added) return added.error();
  if (settings.pairs.empty()) {
    if (config.certificates.empty())
      return error(Status::kInvalid, "there is no certificate (tls { certificate FILE key FILE })");
    const auto own = read_own_pairs(config);
    if (!own) return own.error();
    for (const KeyPair& pair : *own)
      if (auto added = add_site(pair); !added) return added.error();
  }
  if (c->sites.empty())
    return error(Status::kUnsupported,
                 "a server of DTLS cannot use EdDSA keys, and there is no other");
  c->usual = usual_offer(c->sites);
  if (!use(raw, c->usual)) return openssl_fail("certificate and key");
  if (c->sites.size() > 1) {
    // Whether each will do: a handshake is no place to find out.
    const std::unique_ptr<SSL, Free<SSL, SSL_free>> trial(SSL_new(raw));
    for (const CredentialsPtr& site : c->sites) {
      if (!trial) return error(Status::kNoMemory, openssl_error());
      SSL_certs_clear(trial.get());
      if (!use(trial.get(), *site)) return openssl_fail("certificate and key");
    }
  }
  SSL_CTX_set_tlsext_servername_callback(raw, choose_site);
  SSL_CTX_set_tlsext_servername_arg(raw, c.get());
  if (!config.datagrams) SSL_CTX_set_cert_cb(raw, key_is_next, nullptr);
  const Verify verify = settings.verify.value_or(config.verify_client);
  if (verify != Verify::kOff)
    SSL_CTX_set_verify(
        raw, SSL_VERIFY_PEER | (verify == Verify::kRequired ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        nullptr);
  if (!settings.trust.empty()) {
    auto trusted = store_of(settings.trust, store);
    if (!trusted) return trusted.error();
    SSL_CTX_set1_verify_cert_store(raw, trusted->get());
  }
  // Of a message that is announced OpenSSL gets the memory at once, of DTLS for ten that follow,
  // too.
  if (config.datagrams)
    SSL_CTX_set_max_cert_list(raw, verify == Verify::kOff ? kMostFlight : kMostChain);
  // Sessions live in tickets alone, and nothing is kept for them here; unless a ticket may bring
  // early data: it is good once, and OpenSSL has to know which were. Where clients show
  // certificates there is none: it would be said to come from somebody who has not proved it yet.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  // What is refused is skipped, also of clients whose tickets promise more than would be taken now.
  if (!config.datagrams && SSL_CTX_set_recv_max_early_data(raw, kMostEarlyData) != 1)
    return openssl_fail("early-data");
  const uint32_t early_data = settings.early_data.value_or(config.early_data);
  if (!config.datagrams && early_data != 0 && verify == Verify::kOff) {
    // The oldest makes room for the next; those that have expired leave before (early_sessions.h).
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_AUTO_CLEAR);
    SSL_CTX_sess_set_cache_size(raw, kMostSessions);
    SSL_CTX_set_allow_early_data_cb(raw, is_for_this_name, nullptr);
    if (SSL_CTX_set_num_tickets(raw, 1) != 1 || SSL_CTX_set_max_early_data(raw, early_data) != 1 ||
        !c->early_sessions.attach(raw))
      return openssl_fail("early-data");
  }
  (void)SSL_CTX_set_timeout(raw, static_cast<long>(config.ticket_lifetime / kSecond));
  constexpr unsigned char kName[] = "hostloom";
  (void)SSL_CTX_set_session_id_context(raw, kName, sizeof kName - 1);
  c->alpn = settings.alpn;
  if (!c->alpn.empty()) SSL_CTX_set_alpn_select_cb(raw, choose_protocol, c.get());
  if (!c->tickets.attach(raw)) return error(Status::kNoMemory, openssl_error());
  return c;
}

namespace {

Result<std::shared_ptr<SSL_CTX>> make_client(const Config& config, const Profile& profile,
                                             X509_STORE* store) {
  if (config.datagrams && has_no_datagrams(profile)) return std::shared_ptr<SSL_CTX>{};
  auto c = make_context(config.datagrams ? DTLS_client_method() : TLS_client_method(), config,
                        profile, store);
  if (!c) return c.error();
  SSL_CTX* const raw = c->get();
  SSL_CTX_set_verify(raw, config.verify_server == Verify::kOff ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                     nullptr);
  if (config.datagrams) {  // none is resumed
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  } else {
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(raw, keep_session);
  }
  return std::shared_ptr<SSL_CTX>(c->release(), SSL_CTX_free);
}

}  // namespace

Result<Clients> make_clients(const Config& config, X509_STORE* store) {
  Clients all;
  auto usual = make_client(config, config, store);
  if (!usual) return usual.error();
  all.usual = std::move(*usual);
  for (const auto& [name, profile] : config.profiles) {
    auto made = make_client(config, profile, store);
    if (!made) return error(made.error().code, "profile " + name + ": " + made.error().message);
    all.of_profiles[name] = std::move(*made);
  }
  return all;
}

Status find_client(const Clients& all, std::string_view profile,
                   std::shared_ptr<SSL_CTX>& out) noexcept {
  if (profile.empty()) {
    out = all.usual;
  } else {
    const auto found = all.of_profiles.find(profile);
    if (found == all.of_profiles.end()) return Status::kInvalid;
    out = found->second;
  }
  return out ? Status::kOk : Status::kUnsupported;
}

Result<void> apply_client_settings(SSL* ssl, const ClientSettings& s, const IpAddress& server) {
  X509_VERIFY_PARAM* const expected = SSL_get0_param(ssl);
  bool is_taken = true;
  if (s.server_name.empty() || s.address) {  // without a name its certificate is for its address
    const IpAddress& a = s.address ? *s.address : server;
    const auto* bytes = reinterpret_cast<const unsigned char*>(a.bits.bytes.data());
    is_taken &= X509_VERIFY_PARAM_set1_ip(expected, bytes, a.is_ip4 ? 4 : 16) == 1;
  } else {
    is_taken &= X509_VERIFY_PARAM_set1_host(expected, s.server_name.c_str(), 0) == 1;
    is_taken &= SSL_set_tlsext_host_name(ssl, s.server_name.c_str()) == 1;
  }
  if (!s.alpn.empty())  // 0 is its success
    is_taken &= SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(s.alpn.data()),
                                    static_cast<unsigned>(s.alpn.size())) == 0;
  if (s.verify)
    SSL_set_verify(ssl, *s.verify == Verify::kOff ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (s.trust) is_taken &= SSL_set1_verify_cert_store(ssl, s.trust.get()) == 1;
  if (s.own) is_taken &= use(ssl, *s.own);
  if (!is_taken) return openssl_fail("the settings");
  return {};
}

}  // namespace loom::tls
