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

std::string property(const Connection& c, SessionProperty which) {
  std::string value;
  (void)kTransportOps.property(c.at->w, c.self, static_cast<uint32_t>(which), value);
  return value;
}

// Before and after it is open, OpenSSL's object may be somebody else's, or gone.
void describe_tls(const Connection& c, ConnectionRow& row) {
  if (c.state != Connection::State::kOpen || !c.ssl) return;
  row.version = property(c, SessionProperty::kVersion);
  row.cipher = property(c, SessionProperty::kCipher);
  row.alpn = printable(property(c, SessionProperty::kAlpn));
  row.server_name = printable(property(c, SessionProperty::kServerName));
  row.is_resumed = number_setting(property(c, SessionProperty::kIsResumed)) != 0;
  row.is_verified = number_setting(property(c, SessionProperty::kIsVerified)) != 0;
  row.peer = subject_of(SSL_get0_peer_certificate(c.ssl));
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
  if (worker_ >= host.n_workers()) return false;
  host.run_on_worker(worker_, [&](Worker& w) { visit(tls_worker(w), rows); });
  return true;
}

void ConnectionScan::visit(TlsWorker& t, std::vector<ConnectionRow>& rows) {
  const auto all = static_cast<ConnId>(t.connections.size());
  const ConnId end = std::min(all, at_ + kSlice);
  for (std::size_t found = 0; at_ < end && found < kBatch; ++at_) {
    const Connection* c = t.connections[at_].get();
    if (!c || (filter_.state && *filter_.state != c->state)) continue;
    ConnectionInfo info;
    (void)c->below().info(info);
    const Endpoints& ends = info.endpoints;
    if ((filter_.local_port != 0 && filter_.local_port != ends.local_port) ||
        (filter_.remote_port != 0 && filter_.remote_port != ends.remote_port))
      continue;
    const bool has_upper = c->upper != kNoSession;
    rows.push_back({.session = has_upper ? t.w.sessions->handle(t.w, c->upper) : kNoHandle,
                    .worker = t.w.index,
                    .state = c->state,
                    .is_server = c->is_server,
                    .ends = ends});
    describe_tls(*c, rows.back());
    ++found;
  }
  if (at_ < all) return;
  at_ = 0;
  ++worker_;
}

ListenerRow describe(const Listener& l) {
  const X509* const first = SSL_CTX_get0_certificate(l.context.get());
  ListenerRow row{.lower = l.lower,
                  .certificates = static_cast<uint32_t>(
                      std::max<std::size_t>(l.settings.pairs.size(), 1)),  // the configuration's
                  .subject = subject_of(first),
                  .verify = l.settings.verify.value_or(shared().config.verify_client),
                  .alpn = names_of(l.settings.alpn)};
  if (first) row.not_after = seconds_of(X509_get0_notAfter(first));
  shared().host->run_on_all_workers(
      [&](Worker& w) { row.handshakes += l.under_way[w.index]; });  // each worker's own
  return row;
}

std::vector<uint64_t> counters(std::optional<uint32_t> worker) {
  std::vector<uint64_t> sums(kStatCount);
  const auto& workers = shared().workers;
  for (uint32_t i = 0; i < workers.size(); ++i) {
    if (!workers[i] || (worker && *worker != i)) continue;
    for (std::size_t k = 0; k < kStatCount; ++k) sums[k] += workers[i]->stats[k];
  }
  return sums;
}

}  // namespace loom::tls
