#include "sites.h"

#include <openssl/x509v3.h>

#include <algorithm>
#include <string_view>

namespace loom::tls {
namespace {

using NamesPtr = std::unique_ptr<GENERAL_NAMES, Free<GENERAL_NAMES, GENERAL_NAMES_free>>;

bool is_for(X509* x, std::string_view host, unsigned flags) noexcept {
  return X509_check_host(x, host.data(), host.size(), flags, nullptr) == 1;
}

std::string_view text_of(const ASN1_STRING* s) noexcept {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)),
          static_cast<std::size_t>(ASN1_STRING_length(s))};
}

// Names of other kinds nobody asks for.
bool is_of_host(const GENERAL_NAME& name) noexcept {
  return name.type == GEN_DNS || name.type == GEN_IPADD;
}

bool has(X509* x, const GENERAL_NAME& name) noexcept {
  if (name.type == GEN_DNS) return is_for(x, text_of(name.d.dNSName), 0);
  const std::string_view address = text_of(name.d.iPAddress);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(address.data());
  return X509_check_ip(x, bytes, address.size(), 0) == 1;
}

bool is_for_all_names(const Credentials& other, const Credentials& first) {
  X509* const x = other.certificate.get();
  const auto* const of_first = first.certificate.get();
  const NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(of_first, NID_subject_alt_name, nullptr, nullptr)));
  bool has_names = false;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {  // -1 of none
    const GENERAL_NAME& name = *sk_GENERAL_NAME_value(names.get(), i);
    if (!is_of_host(name)) continue;
    if (!has(x, name)) return false;
    has_names = true;
  }
  // The host's name is in the subject then (RFC 6125 section 6.4.4).
  return has_names || X509_NAME_cmp(X509_get_subject_name(x), X509_get_subject_name(of_first)) == 0;
}

}  // namespace

void Offer::add(const Credentials& c) noexcept {
  const int kind = EVP_PKEY_get_base_id(c.key.get());
  const auto has_kind = [kind](const Credentials* other) {
    return EVP_PKEY_get_base_id(other->key.get()) == kind;
  };
  if (n_ < kMost && !std::ranges::any_of(all(), has_kind)) all_[n_++] = &c;
}

Offer offer_for(std::span<const CredentialsPtr> sites, const char* name) noexcept {
  Offer exact, by_wildcard;
  for (const CredentialsPtr& site : sites) {
    X509* const x = site->certificate.get();
    if (!is_for(x, name, 0)) continue;
    (is_for(x, name, X509_CHECK_FLAG_NO_WILDCARDS) ? exact : by_wildcard).add(*site);
  }
  for (const Credentials* const c : by_wildcard.all()) exact.add(*c);  // of kinds that it lacks
  return exact;
}

Offer usual_offer(std::span<const CredentialsPtr> sites) {
  Offer usual;
  for (const CredentialsPtr& site : sites)
    if (site == sites[0] || is_for_all_names(*site, *sites[0])) usual.add(*site);
  return usual;
}

bool use(SSL_CTX* c, const Credentials& own) noexcept {
  return SSL_CTX_use_cert_and_key(c, own.certificate.get(), own.key.get(), own.chain.get(), 1) == 1;
}
bool use(SSL* ssl, const Credentials& own) noexcept {
  return SSL_use_cert_and_key(ssl, own.certificate.get(), own.key.get(), own.chain.get(), 1) == 1;
}

}  // namespace loom::tls
