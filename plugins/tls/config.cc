// The stanza `tls { }`.
#include "config.h"

#include <openssl/ssl.h>

#include <algorithm>

namespace loom::tls {

const char kConfigHelp[] =
    "certificate FILE             PEM chain of listeners that name none of their own; several "
    "times\n"
    "                             for several, each with its key\n"
    "key FILE                     PEM private key of that certificate\n"
    "ca-cert-path PATH            file or folder of trusted certificates (default: the system's)\n"
    "crl FILE                     PEM lists, one of each authority; what they list is refused\n"
    "verify-server required|off   what clients ask of the server (default: required)\n"
    "verify-client required|optional|off  what servers ask of clients (default: off)\n"
    "min-version 1.2|1.3          (default: 1.2)\n"
    "max-version 1.2|1.3          (default: 1.3)\n"
    "ciphers LIST                 of TLS 1.2, in OpenSSL's notation\n"
    "ciphersuites LIST            of TLS 1.3\n"
    "groups LIST                  for the key exchange, as X25519:P-256\n"
    "profile NAME { ... }         of the five above those that differ, for sessions that name it\n"
    "key-log FILE                 write each session's secrets there, for debugging\n"
    "handshake-timeout SECONDS    (default: 10)\n"
    "ticket-lifetime SECONDS      after which the keys of session tickets change (default: 3600)\n"
    "max-handshakes N             under way, of a worker (default: 16384)\n"
    "crypto-threads auto|N        that do the handshakes of TLS in the place of the workers, so "
    "that\n"
    "                             these go on meanwhile. 0: the workers do them. auto, the "
    "default:\n"
    "                             1 where the daemon has more cores than workers, otherwise 0\n"
    "early-data BYTES             of TLS 1.3, that a listener takes of a client before its "
    "handshake\n"
    "                             is done, unless it says itself (default: 0). A request in it "
    "may\n"
    "                             be carried out twice: for idempotent ones only (RFC 8446 "
    "section\n"
    "                             8)\n"
    "aes-gcm auto|openssl         auto, the default: libipsec-mb's where the CPU has VAES and "
    "AVX-512\n"
    "transport NAME               what the sessions run over (default: tcp)\n"
    "fifo-size BYTES              of each fifo of those (default: 1m)";

namespace {

Result<int> version(ConfigReader& in, const ConfigNode& key) {
  const auto word = in.text(key);
  if (!word) return word.error();
  if (*word == "1.2") return TLS1_2_VERSION;
  if (*word == "1.3") return TLS1_3_VERSION;
  return key.fail("'" + key.word + " " + *word + "': 1.2 or 1.3 is needed");
}

Result<Verify> verify(ConfigReader& in, const ConfigNode& key, bool may_be_optional) {
  const auto word = in.text(key);
  if (!word) return word.error();
  if (*word == "required") return Verify::kRequired;
  if (*word == "off") return Verify::kOff;
  if (*word == "optional" && may_be_optional) return Verify::kOptional;
  return key.fail("'" + key.word + " " + *word + "': required" +
                  (may_be_optional ? ", optional" : "") + " or off is needed");
}

Result<std::optional<uint32_t>> crypto_threads(ConfigReader& in, const ConfigNode& key) {
  using Number = std::optional<uint32_t>;
  if (const ConfigNode* const word = in.peek(); word && word->word == "auto") {
    in.next();
    return Number{};
  }
  const auto n = in.number(key, 0, kMostCryptoThreads);
  if (!n) return n.error();
  return Number{static_cast<uint32_t>(*n)};
}

Result<bool> fast_gcm(ConfigReader& in, const ConfigNode& key) {
  const auto word = in.text(key);
  if (!word) return word.error();
  if (*word == "auto") return true;
  if (*word == "openssl") return false;
  return key.fail("'" + key.word + " " + *word + "': auto or openssl is needed");
}

constexpr std::size_t kMostProfiles = 64, kMostProfileName = 63;

// Stores a value that was read, or notes why there is none.
struct Store {
  Result<void>& outcome;
  void operator()(auto& field, auto&& result) const {
    if (result)
      field = static_cast<std::remove_reference_t<decltype(field)>>(*result);
    else
      outcome = result.error();
  }
};

// False: it is no word of a profile's.
bool apply_word(Profile& p, ConfigReader& in, const ConfigNode& w, const Store& store) {
  if (w.word == "min-version")
    store(p.least_version, version(in, w));
  else if (w.word == "max-version")
    store(p.most_version, version(in, w));
  else if (w.word == "ciphers")
    store(p.ciphers, in.text(w));
  else if (w.word == "ciphersuites")
    store(p.ciphersuites, in.text(w));
  else if (w.word == "groups")
    store(p.groups, in.text(w));
  else
    return false;
  return true;
}

// `profile NAME { }`: NAME is a word with a block.
Result<void> add_profile(Config& c, ConfigReader& in, const ConfigNode& key) {
  const ConfigNode* const named = in.next();
  if (!named || named->word.empty() || !named->has_block)
    return key.fail("profile: a name is needed, and { ... } behind it");
  if (!is_profile_name(named->word))
    return named->fail("profile " + named->word + ": a name has at most " +
                       std::to_string(kMostProfileName) + " characters, all of them of ASCII");
  if (c.profiles.size() == kMostProfiles)
    return named->fail("profile " + named->word + ": there are at most " +
                       std::to_string(kMostProfiles) + " profiles");
  const auto [at, is_new] = c.profiles.try_emplace(named->word);
  if (!is_new) return named->fail("profile " + named->word + " is there twice");
  ConfigReader words(*named);
  Result<void> outcome;
  while (const ConfigNode* w = outcome ? words.next() : nullptr)
    if (!apply_word(at->second, words, *w, Store{outcome}))
      return words.unknown(*w, {"min-version", "max-version", "ciphers", "ciphersuites", "groups"});
  return outcome;
}

void complete(Profile& p, const Profile& with) {
  if (p.least_version == 0) p.least_version = with.least_version;
  if (p.most_version == 0) p.most_version = with.most_version;
  if (p.ciphers.empty()) p.ciphers = with.ciphers;
  if (p.ciphersuites.empty()) p.ciphersuites = with.ciphersuites;
  if (p.groups.empty()) p.groups = with.groups;
}

bool has_no_version(const Profile& p) noexcept {
  return p.least_version && p.most_version && p.least_version > p.most_version;
}

}  // namespace

bool is_profile_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= kMostProfileName &&
         std::ranges::all_of(name, [](char c) { return c > ' ' && c < 0x7f; });
}

const Profile* profile_of(const Config& c, std::string_view name) noexcept {
  if (name.empty()) return &c;
  const auto found = c.profiles.find(name);
  return found == c.profiles.end() ? nullptr : &found->second;
}

Result<void> apply_config(void* context, const ConfigNode& stanza) {
  Config& c = *static_cast<Config*>(context);
  ConfigReader in(stanza);
  Result<void> outcome;
  const Store store{outcome};
  while (const ConfigNode* w = outcome ? in.next() : nullptr) {
    const std::string& key = w->word;
    if (apply_word(c, in, *w, store)) continue;
    if (key == "profile") {
      outcome = add_profile(c, in, *w);
    } else if (key == "certificate") {
      store(c.certificates.emplace_back(), in.text(*w));
    } else if (key == "key") {
      store(c.keys.emplace_back(), in.text(*w));
    } else if (key == "ca-cert-path") {
      store(c.ca, in.text(*w));
    } else if (key == "crl") {
      store(c.crl, in.text(*w));
    } else if (key == "verify-server") {
      store(c.verify_server, verify(in, *w, false));
    } else if (key == "verify-client") {
      store(c.verify_client, verify(in, *w, true));
    } else if (key == "key-log") {
      store(c.key_log, in.text(*w));
    } else if (key == "handshake-timeout") {
      uint64_t seconds = 0;
      store(seconds, in.number(*w, 1, 3600));
      c.handshake_timeout = seconds * kSecond;
    } else if (key == "ticket-lifetime") {
      uint64_t seconds = 0;
      store(seconds, in.number(*w, 1, 7 * 24 * 3600));  // RFC 8446 section 4.6.1
      c.ticket_lifetime = seconds * kSecond;
    } else if (key == "max-handshakes") {
      store(c.max_handshakes, in.number(*w, 1, 1u << 24));
    } else if (key == "crypto-threads") {
      store(c.crypto_threads, crypto_threads(in, *w));
    } else if (key == "early-data") {
      store(c.early_data, in.size(*w, 0, kMostEarlyData));
    } else if (key == "aes-gcm") {
      store(c.fast_gcm, fast_gcm(in, *w));
    } else if (key == "transport") {
      store(c.transport, in.text(*w));
      if (outcome && c.transport.size() > 15) return w->fail("a transport's name is shorter");
    } else if (key == "fifo-size") {
      store(c.fifo_size, in.size(*w, 64 << 10, 1u << 30));
    } else {
      return in.unknown(*w, {"certificate",     "key",
                             "ca-cert-path",    "crl",
                             "verify-server",   "verify-client",
                             "min-version",     "max-version",
                             "ciphers",         "ciphersuites",
                             "groups",          "profile",
                             "key-log",         "handshake-timeout",
                             "ticket-lifetime", "max-handshakes",
                             "crypto-threads",  "early-data",
                             "aes-gcm",         "transport",
                             "fifo-size"});
    }
  }
  if (outcome && has_no_version(c)) return stanza.fail("min-version is above max-version");
  for (auto& [name, profile] : c.profiles) {
    complete(profile, c);
    if (outcome && has_no_version(profile))
      return stanza.fail("profile " + name + ": min-version is above max-version");
  }
  if (outcome && c.certificates.size() > kMostPairs)
    return stanza.fail("there are at most " + std::to_string(kMostPairs) + " certificates");
  if (outcome && c.certificates.size() != c.keys.size())
    return stanza.fail("certificate and key go together");
  return outcome;
}

}  // namespace loom::tls
