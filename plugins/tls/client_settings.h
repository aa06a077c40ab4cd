// What a connect wants of TLS, made ready when the application gives its settings
// (TransportOps::settings_given): a worker that connects finds it, and parses and reads nothing.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <hostloom/host.h>

#include "pem.h"
#include "retired.h"
#include "settings.h"

namespace loom::tls {

struct ClientSettings {
  std::string server_name;
  std::optional<IpAddress> address;  // that the name is
  std::string alpn;
  std::optional<Verify> verify;
  CredentialsPtr own;  // the first pair; null: none
  StorePtr trust;      // null: the configuration's
  std::string profile;
  std::string digest;
};
// `host`: the configuration's store.
Result<ClientSettings> make_client_settings(const Settings&, X509_STORE* host);

// By the number of the settings. As many as applications have given, and the latest kMostKept of
// those without a key besides: most clients say the same each time. Whatever goes, goes by way of
// `retired`.
class ClientSettingsTable {
 public:
  using Ptr = std::shared_ptr<const ClientSettings>;
  static constexpr std::size_t kMostKept = 64;

  // Control thread. What makes no sense is refused when it is named.
  void given(Host&, uint32_t number, X509_STORE* host);
  // One that another table has, with another store. A pair that it names has been removed since: it
  // is as it was.
  void renew(Host&, uint32_t number, X509_STORE* host, const ClientSettingsTable& before);
  std::vector<uint32_t> numbers() const;
  bool has(uint32_t number) const;
  // While the workers stand still, and long as it may be: it exchanges pointers.
  void swap(ClientSettingsTable&) noexcept;
  void gone(uint32_t number) noexcept;
  void retire() noexcept;       // all of them
  bool retire_some() noexcept;  // one; false: there is none
  // Any thread; a lock for a few instructions. Who takes one gives it back to the control thread
  // (retired.h).
  Status find(uint32_t number, Ptr& out) const;  // kNotFound, or why they were refused
  std::size_t size() const;

 private:
  struct Entry {
    Status status = Status::kOk;
    Ptr wanted;
  };
  void retire(Ptr) noexcept;
  Entry make(Host&, uint32_t number, X509_STORE* host);

  mutable std::mutex mutex_;
  std::unordered_map<uint32_t, Entry> entries_;
  std::map<std::string, Ptr> kept_;  // by digest; control thread
  std::deque<std::string> order_;    // of those, the oldest first
};

}  // namespace loom::tls
