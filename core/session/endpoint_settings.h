// Settings that applications have given for their endpoints (hostloom/endpoint_settings.h), by
// number. What they say is the transports' affair. Private to core/session/.
//
// Some are the operator's, who gives them by the binary API: certificates that programs may use and
// never see. Applications of the default namespace may name them beside their own, by
// Setting::kPair; those of other namespaces, which are kept apart from this host's affairs, may
// not.
//
// An application's are charged to the memory of its namespace, as what transports make of them: a
// namespace at its limit is refused more, and hurts no other. The charge lasts as long as what was
// made of them: until they are removed, and no session and no other settings use them any more.
//
// Threads: any; one lock, taken when an endpoint is opened, never for a packet. What is given back
// is freed on the control thread, as parsed lists are long.
#pragma once
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <hostloom/secret.h>
#include <hostloom/status.h>

#include "transport/registry.h"

namespace loom::session {

struct App;
class MemoryCharge;

class EndpointSettings {
 public:
  static constexpr uint32_t kMostOfApp = 256;
  // What settings are charged as: the text, and what a transport makes of it. Parsed by
  // OpenSSL 3.0, small certificates (EC P-256) take ten times their PEM, those of RSA 2048 four
  // times.
  static constexpr uint64_t charge_of(std::size_t bytes) noexcept { return 1024 + 12 * bytes; }

  explicit EndpointSettings(const TransportRegistry& transports) : transports_(transports) {}

  // Control thread: transports hear of them before anybody can name them. `once`: for one listen or
  // connect, after which it goes. kNoMemory: the application has as many as it may, or its
  // namespace as much memory.
  Result<uint32_t> add(App&, SecretString bytes, bool once);
  Status remove(const App&, uint32_t number);  // kNotFound: not one of its own
  void remove_all(const App&);
  bool has(const App&, uint32_t number) const;
  // `number`: of the same application as `named`, which it has named for an endpoint.
  // Or of the operator, when that application may use those.
  Status read(uint32_t named, uint32_t number, std::string* out) const;
  // A session is about to be made of them, by a transport that keeps what they say as long as there
  // is the session. False: not one of the application's that can be named.
  [[nodiscard]] bool hold(const App&, uint32_t number) noexcept;
  // That session has gone. The answer is that of used().
  [[nodiscard]] bool let_go(uint32_t number) noexcept;
  // What a listener of the application is charged for those, and the pairs that they name.
  uint64_t charge_for_listener(const App&, uint32_t number) const;
  // It was named in a listen or connect that is done. Nobody can name it any more. True: the
  // control thread is to call take_away_used().
  [[nodiscard]] bool used(const App&, uint32_t number) noexcept;
  void take_away_used();  // control thread

  // The operator's, as many as an application may have; they stay until they are removed.
  Result<uint32_t> add_of_operator(SecretString bytes);
  Status remove_of_operator(uint32_t number);

 private:
  static constexpr uint64_t kOperator = 0;  // no application's serial

  struct Entry {
    uint64_t app = kOperator;  // App::serial
    bool once = false;
    bool may_name_operators = false;
    bool is_known = false;    // to the transports
    bool is_used = false;     // and waits in used_
    bool is_removed = false;  // nobody knows it any more; what is left is its charge
    uint32_t users = 0;       // sessions, and settings that name it as a pair
    uint64_t charge = 0;
    MemoryCharge* memory = nullptr;  // the application's, which is there as long; null: nobody's
    std::vector<uint32_t> pairs{};   // of the same application, older ones: it is a user of them
    SecretString bytes;              // there may be keys
    bool may_be_named() const noexcept { return is_known && !is_used && !is_removed; }
  };
  Result<uint32_t> add(uint64_t owner, const std::string& who, Entry);
  Status remove(uint64_t owner, uint32_t number);
  template <class Entries>  // locked; nullptr: not one of the application's that can be named
  static auto own(Entries& entries, const App&, uint32_t number) noexcept
      -> decltype(&entries.begin()->second);
  void take_pairs(Entry&);  // locked
  // Locked. One without users goes, and so do those that it was the last user of.
  void end(uint32_t number);
  void drop(uint32_t number);
  void tell_gone(uint32_t number) const;
  const Entry* readable(uint32_t named, uint32_t number) const;  // locked

  const TransportRegistry& transports_;
  mutable std::mutex mutex_;  // not held while transports are told
  std::unordered_map<uint32_t, Entry> entries_;
  std::unordered_map<uint64_t, uint32_t> of_app_;  // how many
  // Whose end the control thread is to see to: used ones, and removed ones that have lost their
  // last session. Each is there once, and there is room for all entries.
  std::vector<uint32_t> used_;
  uint32_t last_ = 0;
};

}  // namespace loom::session
