// Whom one believes: stores of trusted certificates and of lists of what is revoked. Made on the
// control thread, with all that files have to say: looking somebody up reads none.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "config.h"
#include "pem.h"
#include "tickets.h"

namespace loom::tls {

// Reads what the configuration says, its file or folder, or the system's, and its list, in pieces:
// a folder may have thousands of names, and each takes the longer the more are there already, as
// OpenSSL sorts all of them before it adds one.
class StoreReader {
 public:
  using Clock = TimeNs (*)() noexcept;
  explicit StoreReader(const Config& config, Clock clock = steady_now)
      : config_(config), clock_(clock) {}
  // A file, or of a folder one and then others for about a millisecond. True: that was all, and the
  // store is to be taken.
  Result<bool> step();
  StorePtr take() noexcept { return std::move(store_); }

 private:
  enum class At : uint8_t { kBegin, kFolders, kEnd };
  Result<void> begin();
  Result<void> read_some();
  void read(const std::filesystem::path&, X509_LOOKUP*);
  Result<void> end_folder();
  Result<void> read_list();

  const Config& config_;
  const Clock clock_;
  StorePtr store_;
  At at_ = At::kBegin;
  std::vector<std::string> folders_;  // still to be read, the last one now
  std::filesystem::directory_iterator names_;
  bool is_reading_ = false;  // of that one
  std::size_t n_seen_ = 0, n_certificates_ = 0;
};

// All of that at once.
Result<StorePtr> make_store(const Config&);
// Of a text that an application has brought; what `host` has lists of is refused here, too.
Result<StorePtr> store_of(const std::string& pem, X509_STORE* host);

}  // namespace loom::tls
