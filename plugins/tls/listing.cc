#include "listing.h"

#include <hostloom/endpoint_settings.h>

#include <openssl/x509.h>
#include <time.h>

#include <algorithm>

namespace loom::tls {
namespace {

// Of a visit to a worker, which stands still meanwhile: a certificate's name takes microseconds.
constexpr ConnId kSlice = 1024;
constexpr std::size_t kBatch = 64;
constexpr int kMostSubjectDer = 4096;

std::string printable(std::string text) {
  for (char& c : text)
    if (c < 0x20 || c > 0x7e) c = '?';
  return text;
}

std::string subject_of(const X509* x) {
  if (!x) return {};
  // Printing it takes a time that the peer chooses.
  if (i2d_X509_NAME(X509_get_subject_name(x), nullptr) > kMostSubjectDer) return "(a long name)";
  BIO* const b = BIO_new(BIO_s_mem());
  if (!b || X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) < 0) {
    BIO_free(b);
    return {};
  }
  char* text = nullptr;
  const long n = BIO_get_mem_data(b, &text);
  std::string name(text, std::min(static_cast<std::size_t>(std::max(n, 0L)), kMostSubject));
  BIO_free(b);
  return printable(std::move(name));
}

std::string property_of(const SSL* ssl, SessionProperty which) {
  std::string value;
  (void)property(ssl, static_cast<uint32_t>(which), value);
  return value;
}

// Before and after it is open, OpenSSL's object may be somebody else's, or gone.
void describe_tls(const SSL* ssl, ConnectionRow& row) {
  if (row.state != Connection::State::kOpen || !ssl) return;
  row.version = property_of(ssl, SessionProperty::kVersion);
  row.cipher = property_of(ssl, SessionProperty::kCipher);
  row.alpn = printable(property_of(ssl, SessionProperty::kAlpn));
  row.server_name = printable(property_of(ssl, SessionProperty::kServerName));
  row.is_resumed = number_setting(property_of(ssl, SessionProperty::kIsResumed)) != 0;
  row.is_verified = number_setting(property_of(ssl, SessionProperty::kIsVerified)) != 0;
  row.peer = subject_of(SSL_get0_peer_certificate(ssl));
}

Endpoints ends_of(const Connection& c) {
  ConnectionInfo info;
  (void)c.below().info(info);
  return info.endpoints;
}
// A listener's lower session has no peer.
Endpoints ends_of(const dtls::Connection& c) {
  ConnectionInfo info;
  if (!c.is_server) (void)c.below().info(info);
  return c.is_server ? c.wire.to.ends : info.endpoints;
}

Connection::State state_of(const Connection& c) { return c.state; }
Connection::State state_of(const dtls::Connection& c) {
  using Of = dtls::Connection::State;
  switch (c.state) {
    case Of::kConnecting:
      return Connection::State::kConnecting;
    case Of::kHandshake:
      return Connection::State::kHandshake;
    case Of::kOpen:
      return Connection::State::kOpen;
    case Of::kEnding:
      break;
  }
  return Connection::State::kEnding;
}

// RFC 7301's list as people write it.
std::string names_of(std::string_view list) {
  std::string names;
  while (!list.empty()) {
    const std::size_t n = static_cast<unsigned char>(list[0]);
    if (!names.empty()) names += ',';
    names += printable(std::string(list.substr(1, n)));
    list.remove_prefix(std::min(list.size(), n + 1));
  }
  return names;
}

uint64_t seconds_of(const ASN1_TIME* t) {
  tm parts{};
  if (!t || ASN1_TIME_to_tm(t, &parts) != 1) return 0;
  const time_t at = timegm(&parts);
  return at > 0 ? static_cast<uint64_t>(at) : 0;
}

}  // namespace

const char* state_name(Connection::State s) noexcept {
  switch (s) {
    case Connection::State::kConnecting:
      return "connecting";
    case Connection::State::kHandshake:
      return "handshake";
    case Connection::State::kOpen:
      return "open";
    case Connection::State::kEnding:
      return "ending";
  }
  return "";
}

bool ConnectionScan::next(std::vector<ConnectionRow>& rows) {
  Host& host = *shared().host;
  const uint32_t n = host.n_workers();
  if (worker_ >= 2 * n) return false;
  if (worker_ < n)
    host.run_on_worker(worker_, [&](Worker& w) { visit(tls_worker(w), rows); });
  else
    host.run_on_worker(worker_ - n, [&](Worker& w) { visit(dtls::dtls_worker(w), rows); });
  return true;
}

template <class AnyWorker>
void ConnectionScan::visit(AnyWorker& t, std::vector<ConnectionRow>& rows) {
  const auto all = static_cast<ConnId>(t.connections.size());
  const ConnId end = std::min(all, at_ + kSlice);
  for (std::size_t found = 0; at_ < end && found < kBatch; ++at_) {
    const auto* c = t.connections[at_].get();
    if (!c || (filter_.state && *filter_.state != state_of(*c))) continue;
    const Endpoints ends = ends_of(*c);
    if ((filter_.local_port != 0 && filter_.local_port != ends.local_port) ||
        (filter_.remote_port != 0 && filter_.remote_port != ends.remote_port))
      continue;
    const bool has_upper = c->upper != kNoSession;
    rows.push_back({.session = has_upper ? t.w.sessions->handle(t.w, c->upper) : kNoHandle,
                    .worker = t.w.index,
                    .state = state_of(*c),
                    .is_server = c->is_server,
                    .ends = ends});
    describe_tls(c->ssl, rows.back());
    ++found;
  }
  if (at_ < all) return;
  at_ = 0;
  ++worker_;
}

bool list_connections(const ConnectionFilter& filter, std::size_t most,
                      std::vector<ConnectionRow>& rows) {
  ConnectionScan scan(filter);
  while (rows.size() <= most && scan.next(rows)) {}
  const bool is_cut = rows.size() > most;
  if (is_cut) rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(most), rows.end());
  return is_cut;
}

namespace {

ListenerRow row_of(const ServerContext& context, const Settings& settings) {
  const X509* const first = SSL_CTX_get0_certificate(context.ssl.get());
  ListenerRow row{.lower = kNoHandle,
                  .certificates = static_cast<uint32_t>(context.sites.size()),
                  .subject = subject_of(first),
                  .verify = settings.verify.value_or(shared().config.verify_client),
                  .alpn = names_of(settings.alpn),
                  .profile = settings.profile};
  if (first) row.not_after = seconds_of(X509_get0_notAfter(first));
  return row;
}

template <class Workers>
std::vector<uint64_t> sums_of(const Workers& workers, std::size_t n_stats,
                              std::optional<uint32_t> worker) {
  std::vector<uint64_t> sums(n_stats);
  for (uint32_t i = 0; i < workers.size(); ++i) {
    if (!workers[i] || (worker && *worker != i)) continue;
    for (std::size_t k = 0; k < n_stats; ++k) sums[k] += workers[i]->stats[k];
  }
  return sums;
}

}  // namespace

ListenerRow describe(const Listener& l) {
  ListenerRow row = row_of(*l.context, l.settings);
  row.lower = l.lower;
  for (const StatCounter& n : l.under_way) row.handshakes += static_cast<uint32_t>(n);
  return row;
}

ListenerRow describe(const dtls::Listener& l) {
  ListenerRow row = row_of(*l.context, l.settings);
  row.lower = l.lower;
  row.handshakes = static_cast<uint32_t>(l.under_way);
  return row;
}

std::vector<uint64_t> counters(std::optional<uint32_t> worker) {
  return sums_of(shared().workers, kStatCount, worker);
}
std::vector<uint64_t> dtls_counters(std::optional<uint32_t> worker) {
  return sums_of(dtls::shared().workers, dtls::kStatCount, worker);
}

}  // namespace loom::tls
