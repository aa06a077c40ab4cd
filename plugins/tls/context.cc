// Contexts: what a configuration and a key pair come to in OpenSSL.
#include "context.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "connection.h"
#include "tickets.h"
#include "trust.h"

namespace loom::tls {
namespace {

// Of a client's messages to a DTLS server, without a certificate and with its chain: bytes.
constexpr long kMostFlight = 16 << 10, kMostChain = 32 << 10;

int use(SSL_CTX* c, const Credentials& own) {
  return SSL_CTX_use_cert_and_key(c, own.certificate.get(), own.key.get(), own.chain.get(), 1);
}
int use(SSL* c, const Credentials& own) {
  return SSL_use_cert_and_key(c, own.certificate.get(), own.key.get(), own.chain.get(), 1);
}

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

Result<ContextPtr> make_context(const SSL_METHOD* method, const Config& config, X509_STORE* store) {
  if (config.datagrams && config.least_version == TLS1_3_VERSION)
    return error(Status::kUnsupported, "DTLS 1.2 is older than min-version 1.3");
  ContextPtr c(SSL_CTX_new(method));
  if (!c) return error(Status::kNoMemory, openssl_error());
  SSL_CTX* const raw = c.get();
  const int oldest = config.least_version ? config.least_version : TLS1_2_VERSION;
  const int least = config.datagrams ? DTLS1_2_VERSION : oldest;
  const int most = config.datagrams ? DTLS1_2_VERSION : config.most_version;
  if (SSL_CTX_set_min_proto_version(raw, least) != 1 ||
      SSL_CTX_set_max_proto_version(raw, most) != 1)
    return openssl_fail("the versions");
  if (!config.ciphers.empty() && SSL_CTX_set_cipher_list(raw, config.ciphers.c_str()) != 1)
    return openssl_fail("ciphers " + config.ciphers);
  if (!config.ciphersuites.empty() &&
      SSL_CTX_set_ciphersuites(raw, config.ciphersuites.c_str()) != 1)
    return openssl_fail("ciphersuites " + config.ciphersuites);
  if (!config.groups.empty() && SSL_CTX_set1_groups_list(raw, config.groups.c_str()) != 1)
    return openssl_fail("groups " + config.groups);
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

// What a listener's first context has besides; freed with it.
struct Extra {
  explicit Extra(TimeNs ticket_lifetime) : tickets(ticket_lifetime) {}
  TicketKeys tickets;
  std::vector<ContextPtr> others;  // of further certificates
  std::string alpn;
};

int extra_index() {
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* extra, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<Extra*>(extra);
      });
  return index;
}

// The first of ours that the client offers (RFC 7301 section 3.2), or the alert.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* n, const unsigned char* offered,
                    unsigned offered_size, void* arg) {
  const std::string& ours = static_cast<const Extra*>(arg)->alpn;
  unsigned char* chosen = nullptr;
  const int found =
      SSL_select_next_proto(&chosen, n, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), offered, offered_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// The certificate for the name that the client asks for (RFC 6066 section 3), wildcards as in
// RFC 6125; the first one when none is.
int choose_site(SSL* ssl, int*, void* arg) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (!name) return SSL_TLSEXT_ERR_NOACK;
  const auto is_for = [name](SSL_CTX* c) {
    return X509_check_host(SSL_CTX_get0_certificate(c), name, 0, 0, nullptr) == 1;
  };
  if (is_for(SSL_get_SSL_CTX(ssl))) return SSL_TLSEXT_ERR_OK;
  for (const ContextPtr& c : static_cast<const Extra*>(arg)->others)
    if (is_for(c.get())) {
      SSL_set_SSL_CTX(ssl, c.get());
      return SSL_TLSEXT_ERR_OK;
    }
  return SSL_TLSEXT_ERR_NOACK;
}

// A client's server has sent a ticket. 1: the reference is ours now.
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

// A context with one certificate.
Result<ContextPtr> make_site(const Config& config, const Settings& settings, X509_STORE* store,
                             const KeyPair& pair) {
  auto c =
      make_context(config.datagrams ? DTLS_server_method() : TLS_server_method(), config, store);
  if (!c) return c;
  SSL_CTX* const raw = c->get();
  const auto own = read_credentials(pair);
  if (!own) return own.error();
  // OpenSSL 3's servers have no cipher for them in DTLS 1.2: every handshake would fail.
  if (config.datagrams &&
      (EVP_PKEY_is_a(own->key.get(), "ED25519") || EVP_PKEY_is_a(own->key.get(), "ED448")))
    return error(Status::kUnsupported, "a server of DTLS cannot use an EdDSA key");
  if (use(raw, *own) != 1) return openssl_fail("certificate and key");
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
  // Sessions live in tickets alone; nothing is kept for them here.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  (void)SSL_CTX_set_timeout(raw, static_cast<long>(config.ticket_lifetime / kSecond));
  constexpr unsigned char kName[] = "hostloom";
  (void)SSL_CTX_set_session_id_context(raw, kName, sizeof kName - 1);
  return c;
}

}  // namespace

void note_errors(TlsWorker& t, const SSL* ssl) noexcept {
  while (const unsigned long code = ERR_get_error()) {
    if (ERR_GET_LIB(code) != ERR_LIB_SSL) continue;
    const int reason = ERR_GET_REASON(code);
    if (reason >= SSL_AD_REASON_OFFSET)
      ++t.stats[kAlertsReceived];
    else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && SSL_get_verify_result(ssl) != X509_V_OK)
      ++t.stats[kVerifyFailed];
  }
}

Result<ContextPtr> make_server_context(const Config& config, const Settings& settings,
                                       X509_STORE* store) {
  std::vector<KeyPair> pairs = settings.pairs;
  if (pairs.empty()) {
    if (config.certificate.empty())
      return error(Status::kInvalid, "there is no certificate (tls { certificate FILE key FILE })");
    auto pair = read_key_pair(config.certificate, config.key);
    if (!pair) return pair.error();
    pairs.push_back(std::move(*pair));
  }
  auto first = make_site(config, settings, store, pairs[0]);
  if (!first) return first;
  auto extra = std::make_unique<Extra>(config.ticket_lifetime);
  extra->alpn = settings.alpn;
  for (std::size_t i = 1; i < pairs.size(); ++i) {
    auto site = make_site(config, settings, store, pairs[i]);
    if (!site) return site;
    extra->others.push_back(std::move(*site));
  }
  SSL_CTX* const c = first->get();
  bool is_good = extra->tickets.attach(c);
  for (const ContextPtr& other : extra->others) is_good &= extra->tickets.attach(other.get());
  if (!extra->alpn.empty()) {
    SSL_CTX_set_alpn_select_cb(c, choose_protocol, extra.get());
    for (const ContextPtr& other : extra->others)  // it is asked for that of the chosen site
      SSL_CTX_set_alpn_select_cb(other.get(), choose_protocol, extra.get());
  }
  if (!extra->others.empty()) {
    SSL_CTX_set_tlsext_servername_callback(c, choose_site);
    SSL_CTX_set_tlsext_servername_arg(c, extra.get());
  }
  if (!is_good || SSL_CTX_set_ex_data(c, extra_index(), extra.get()) != 1)
    return error(Status::kNoMemory, openssl_error());
  (void)extra.release();  // the context's now
  return first;
}

Result<ContextPtr> make_client_context(const Config& config, X509_STORE* store) {
  auto c =
      make_context(config.datagrams ? DTLS_client_method() : TLS_client_method(), config, store);
  if (!c) return c;
  SSL_CTX_set_verify(
      c->get(), config.verify_server == Verify::kOff ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (config.datagrams) {  // none is resumed
    SSL_CTX_set_session_cache_mode(c->get(), SSL_SESS_CACHE_OFF);
    return c;
  }
  SSL_CTX_set_session_cache_mode(c->get(),
                                 SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
  SSL_CTX_sess_set_new_cb(c->get(), keep_session);
  return c;
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
  if (s.own) is_taken &= use(ssl, *s.own) == 1;
  if (!is_taken) return openssl_fail("the settings");
  return {};
}

}  // namespace loom::tls
