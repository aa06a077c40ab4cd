#include "trust.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace loom::tls {
namespace {

// "5ed36f99.0", a certificate, or "5ed36f99.r0", a list: what `openssl rehash` makes.
enum class Kind : uint8_t { kOther, kCertificate, kList };
Kind kind_of(const std::string& name) noexcept {
  constexpr std::size_t kHash = 8;
  if (name.size() < kHash + 2 || name[kHash] != '.' ||
      name.find_first_not_of("0123456789abcdefABCDEF") != kHash)
    return Kind::kOther;
  const bool is_list = name[kHash + 1] == 'r';
  const std::string number = name.substr(kHash + 1 + is_list);
  if (number.empty() || number.find_first_not_of("0123456789") != number.npos) return Kind::kOther;
  return is_list ? Kind::kList : Kind::kCertificate;
}

constexpr TimeNs kStep = kMillisecond;
// Of the certificate and of all authorities above it.
constexpr unsigned long kWholeChain = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;

std::string place(const char* variable, const char* otherwise) {
  const char* named = ::secure_getenv(variable);
  return named && *named ? named : otherwise;
}

// Whose certificates an application has brought has no list of ours, or one of those configured.
int allow_without_list(int is_good, X509_STORE_CTX* c) {
  if (is_good || X509_STORE_CTX_get_error(c) != X509_V_ERR_UNABLE_TO_GET_CRL) return is_good;
  X509_STORE_CTX_set_error(c, X509_V_OK);
  return 1;
}

bool add_lists(X509_STORE* store, X509_STORE* host) {
  bool is_good = X509_STORE_lock(host) == 1, has_lists = false;
  if (!is_good) return false;
  STACK_OF(X509_OBJECT)* const objects = X509_STORE_get0_objects(host);
  for (int i = 0; i < sk_X509_OBJECT_num(objects); ++i)
    if (X509_CRL* list = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i))) {
      is_good &= X509_STORE_add_crl(store, list) == 1;
      has_lists = true;
    }
  X509_STORE_unlock(host);
  if (!has_lists) return is_good;
  X509_STORE_set_verify_cb(store, allow_without_list);
  return is_good && X509_STORE_set_flags(store, kWholeChain) == 1;
}

}  // namespace

Result<bool> StoreReader::step() {
  Result<void> outcome;
  switch (at_) {
    case At::kBegin:
      outcome = begin();
      at_ = At::kFolders;
      break;
    case At::kFolders:
      if (!folders_.empty()) {
        outcome = read_some();
        break;
      }
      outcome = read_list();
      at_ = At::kEnd;
      break;
    case At::kEnd:
      break;
  }
  ERR_clear_error();  // of links to nowhere, and of what is no certificate
  if (!outcome) return outcome.error();
  return at_ == At::kEnd;
}

// Without a place of its own as X509_STORE_set_default_paths, but at once. What is not there is not
// trusted.
Result<void> StoreReader::begin() {
  store_.reset(X509_STORE_new());
  if (!store_) return error(Status::kNoMemory, openssl_error());
  struct stat s {};
  if (config_.ca.empty()) {
    const std::string file = place(X509_get_default_cert_file_env(), X509_get_default_cert_file());
    (void)X509_STORE_load_file(store_.get(), file.c_str());
    const std::string all = place(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
    for (std::size_t at = 0; at <= all.size();) {
      const std::size_t end = std::min(all.find(':', at), all.size());
      if (end != at) folders_.push_back(all.substr(at, end - at));
      at = end + 1;
    }
    std::ranges::reverse(folders_);
    return {};
  }
  if (::stat(config_.ca.c_str(), &s) != 0)
    return error(Status::kInvalid, "ca-cert-path " + config_.ca + ": " + std::strerror(errno));
  if (S_ISDIR(s.st_mode))
    folders_.push_back(config_.ca);
  else if (X509_STORE_load_file(store_.get(), config_.ca.c_str()) != 1)
    return openssl_fail("ca-cert-path " + config_.ca);
  return {};
}

// OpenSSL would look into the folder at each verification, on a worker: all of it is read now, by
// the names that it would look for. More names than are read are an error: one of them might be the
// one that is missed.
Result<void> StoreReader::read_some() {
  X509_LOOKUP* const reader = X509_STORE_add_lookup(store_.get(), X509_LOOKUP_file());
  std::error_code why;
  if (!is_reading_) {
    names_ = std::filesystem::directory_iterator(folders_.back(), why);
    is_reading_ = true;
    n_seen_ = 0;
  }
  const std::filesystem::directory_iterator end;
  for (const TimeNs begun = clock_(); !why && names_ != end && reader;) {
    if (++n_seen_ > config_.most_of_folder)
      return error(Status::kInvalid, "the folder of trusted certificates " + folders_.back() +
                                         " has more than " +
                                         std::to_string(config_.most_of_folder) + " names");
    read(names_->path(), reader);
    names_.increment(why);
    if (clock_() - begun >= kStep) break;
  }
  return why || names_ == end || !reader ? end_folder() : Result<void>{};
}

void StoreReader::read(const std::filesystem::path& path, X509_LOOKUP* reader) {
  switch (kind_of(path.filename().string())) {
    case Kind::kCertificate:
      n_certificates_ += X509_load_cert_file(reader, path.c_str(), X509_FILETYPE_PEM) > 0;
      break;
    case Kind::kList:
      if (!config_.crl.empty()) (void)X509_load_crl_file(reader, path.c_str(), X509_FILETYPE_PEM);
      break;
    case Kind::kOther:
      break;
  }
}

Result<void> StoreReader::end_folder() {
  names_ = {};
  is_reading_ = false;
  folders_.pop_back();
  if (!config_.ca.empty() && n_certificates_ == 0)
    return error(Status::kInvalid, "ca-cert-path " + config_.ca +
                                       " has no certificate under its hash (openssl rehash)");
  return {};
}

Result<void> StoreReader::read_list() {
  if (config_.crl.empty()) return {};
  X509_LOOKUP* const reader = X509_STORE_add_lookup(store_.get(), X509_LOOKUP_file());
  if (!reader || X509_load_crl_file(reader, config_.crl.c_str(), X509_FILETYPE_PEM) < 1)
    return openssl_fail("crl " + config_.crl);
  X509_STORE_set_flags(store_.get(), kWholeChain);
  return {};
}

Result<StorePtr> make_store(const Config& config) {
  StoreReader reader(config);
  while (true) {
    const auto done = reader.step();
    if (!done) return done.error();
    if (*done) return reader.take();
  }
}

Result<StorePtr> store_of(const std::string& pem, X509_STORE* host) {
  StorePtr store(X509_STORE_new());
  if (!store) return error(Status::kNoMemory, openssl_error());
  std::size_t n = 0;
  (void)for_each_certificate(pem, [&](X509* x) { n += X509_STORE_add_cert(store.get(), x) == 1; });
  if (n == 0) return openssl_fail("the trusted certificates");
  if (!add_lists(store.get(), host)) return error(Status::kNoMemory, openssl_error());
  ERR_clear_error();
  return store;
}

}  // namespace loom::tls
