// Settings of the stanza `tls { }`.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/config.h>
#include <hostloom/types.h>

namespace loom::tls {

enum class Verify : uint8_t { kOff, kOptional, kRequired };

constexpr uint32_t kMostEarlyData = 1u << 20;
constexpr uint32_t kMostCryptoThreads = 64;
constexpr std::size_t kMostPairs = 64;  // certificates of a listener

// What may be agreed on: of the stanza, for who names no other, or of a `profile NAME { }` in it.
struct Profile {
  int least_version = 0, most_version = 0;    // OpenSSL's numbers; 0: 1.2 and 1.3
  std::string ciphers, ciphersuites, groups;  // OpenSSL's notation; "": its defaults
};

struct Config : Profile {
  std::map<std::string, Profile, std::less<>> profiles;  // whole: with what the stanza says
  std::string transport = "tcp";           // below, by name in the registry
  std::string datagram_transport = "udp";  // below DTLS
  bool datagrams = false;                  // the contexts made from it are for DTLS
  uint32_t fifo_size = 1u << 20;           // bytes, of each fifo of a lower session
  // PEM files, for listeners that name no pair of their own; the n-th of each are a pair.
  std::vector<std::string> certificates, keys;
  std::string ca;                     // PEM file or folder; "": the system's
  std::size_t most_of_folder = 4096;  // names that are read of one; no word of the stanza
  std::string crl;                    // PEM lists, of all authorities of a chain; "": not looked at
  Verify verify_server = Verify::kRequired, verify_client = Verify::kOff;
  std::string key_log;                        // file to append secrets to (NSS format); "": none
  TimeNs handshake_timeout = 10 * kSecond;
  TimeNs ticket_lifetime = 3600 * kSecond;  // of the keys of session tickets
  uint32_t max_handshakes = 16'384;         // under way, of a worker
  // Of the pool for handshakes; 0: the workers do them; none: as threads_for() says.
  std::optional<uint32_t> crypto_threads;
  bool fast_gcm = true;     // where there is a faster AES-GCM than OpenSSL's (gcm_provider.h)
  uint32_t early_data = 0;  // bytes that a listener takes of a client, unless it says itself
};

// `crypto-threads auto`: where each worker may have a core and one is left, that one does
// handshakes.
constexpr uint32_t threads_for(uint32_t n_cores, uint32_t n_workers) noexcept {
  return n_cores > n_workers ? 1 : 0;
}

// Up to 63 characters that may be shown: applications name them, too.
bool is_profile_name(std::string_view) noexcept;
// Of that name; "": the stanza's own. Null: there is none.
const Profile* profile_of(const Config&, std::string_view name) noexcept;

extern const char kConfigHelp[];
// context: the Config.
Result<void> apply_config(void* context, const ConfigNode&);

}  // namespace loom::tls
