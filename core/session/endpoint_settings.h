// Settings that applications have given for their endpoints (hostloom/endpoint_settings.h), by
// number. What they say is the transports' affair. Private to core/session/.
//
// Some are the operator's, who gives them by the binary API: certificates that programs may use and
// never see. Applications of the default namespace may name them beside their own, by
// Setting::kPair; those of other namespaces, which are kept apart from this host's affairs, may
// not.
//
// Threads: any; one lock, taken when an endpoint is opened, never for a packet.
#pragma once
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include <hostloom/secret.h>
#include <hostloom/status.h>

#include "transport/registry.h"

namespace loom::session {

struct App;

class EndpointSettings {
 public:
  static constexpr uint32_t kMostOfApp = 256;

  explicit EndpointSettings(const TransportRegistry& transports) : transports_(transports) {}

  // Control thread: transports hear of them before anybody can name them. `once`: for one listen or
  // connect, after which it goes. kNoMemory: the application has as many as it may.
  Result<uint32_t> add(const App&, SecretString bytes, bool once);
  Status remove(const App&, uint32_t number);  // kNotFound: not one of its own
  void remove_all(const App&);
  bool has(const App&, uint32_t number) const;
  // `number`: of the same application as `named`, which it has named for an endpoint.
  // Or of the operator, when that application may use those.
  Status read(uint32_t named, uint32_t number, std::string* out) const;
  // It was named in a listen or connect that is done.
  void used(const App&, uint32_t number);

  // The operator's, as many as an application may have; they stay until they are removed.
  Result<uint32_t> add_of_operator(SecretString bytes);
  Status remove_of_operator(uint32_t number);

 private:
  static constexpr uint64_t kOperator = 0;  // no application's serial

  struct Entry {
    uint64_t app = kOperator;  // App::serial
    bool once = false;
    bool may_name_operators = false;
    bool is_known = false;  // to the transports
    SecretString bytes;     // there may be keys
    Entry(uint64_t a, bool o, bool may, SecretString b)
        : app(a), once(o), may_name_operators(may), bytes(std::move(b)) {}
  };
  Result<uint32_t> add(uint64_t owner, const std::string& who, SecretString bytes, bool once,
                       bool may_name_operators);
  Status remove(uint64_t owner, uint32_t number);
  void tell_gone(uint32_t number) const;

  const TransportRegistry& transports_;
  mutable std::mutex mutex_;  // not held while transports are told
  std::unordered_map<uint32_t, Entry> entries_;
  std::unordered_map<uint64_t, uint32_t> of_app_;  // how many
  uint32_t last_ = 0;
};

}  // namespace loom::session
