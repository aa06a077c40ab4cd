// Which of a listener's certificates a client is shown (RFC 6066 section 3): those for the name
// that it asks for, one of each kind of key, of which OpenSSL takes one that the client can check.
//   cost  a look at all names of each certificate, two at those that are for the name
#pragma once
#include <array>
#include <span>

#include "pem.h"

namespace loom::tls {

// At most one pair of each kind of key, the first of those that there are. Refers to the sites.
class Offer {
 public:
  static constexpr std::size_t kMost = 8;  // kinds; OpenSSL has places for fewer
  void add(const Credentials&) noexcept;
  bool is_empty() const noexcept { return n_ == 0; }
  std::span<const Credentials* const> all() const noexcept { return std::span(all_).first(n_); }
  bool operator==(const Offer&) const = default;

 private:
  std::array<const Credentials*, kMost> all_{};
  std::size_t n_ = 0;
};

// Those that have the name itself, and of kinds of keys that these lack those with a wildcard that
// it matches (RFC 6125 section 6.4.3). Empty: there is none for it.
Offer offer_for(std::span<const CredentialsPtr> sites, const char* name) noexcept;
// For whoever asks for no name, or for one that no certificate is for: the first one, and of other
// kinds of keys those that are for all of its names and addresses; without any, of its subject.
Offer usual_offer(std::span<const CredentialsPtr> sites);

// Whatever else there was of the same kinds of keys is replaced.
bool use(SSL_CTX*, const Credentials&) noexcept;
bool use(SSL*, const Credentials&) noexcept;
// The first one is the current one afterwards.
template <class Ssl>
bool use(Ssl* ssl, const Offer& offer) noexcept {
  bool is_good = true;
  const auto all = offer.all();
  for (auto it = all.rbegin(); it != all.rend(); ++it) is_good = is_good && use(ssl, **it);
  return is_good;
}

}  // namespace loom::tls
