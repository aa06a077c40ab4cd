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

// OpenSSL would look into the folder at each verification, on a worker: all of it is read now, by
// the names that it would look for. How many certificates there are; an error when there are more
// names than are read, of which one might be the one that is missed.
Result<std::size_t> load_folder(X509_STORE* store, const std::string& folder, bool with_lists,
                                std::size_t most) {
  X509_LOOKUP* const reader = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  std::error_code why;
  std::size_t n = 0, seen = 0;
  for (std::filesystem::directory_iterator at(folder, why), end; !why && at != end && reader;
       at.increment(why)) {
    if (++seen > most)
      return error(Status::kInvalid, "the folder of trusted certificates " + folder +
                                         " has more than " + std::to_string(most) + " names");
    const std::string path = at->path().string();
    switch (kind_of(at->path().filename().string())) {
      case Kind::kCertificate:
        n += X509_load_cert_file(reader, path.c_str(), X509_FILETYPE_PEM) > 0;
        break;
      case Kind::kList:
        if (with_lists) (void)X509_load_crl_file(reader, path.c_str(), X509_FILETYPE_PEM);
        break;
      case Kind::kOther:
        break;
    }
  }
  ERR_clear_error();  // of links to nowhere, and of what is no certificate
  return n;
}

std::string place(const char* variable, const char* otherwise) {
  const char* named = ::secure_getenv(variable);
  return named && *named ? named : otherwise;
}

// As X509_STORE_set_default_paths, but at once. What is not there is not trusted.
Result<void> load_system(X509_STORE* store, bool with_lists, std::size_t most) {
  const std::string file = place(X509_get_default_cert_file_env(), X509_get_default_cert_file());
  (void)X509_STORE_load_file(store, file.c_str());
  const std::string folders = place(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
  for (std::size_t at = 0; at <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', at), folders.size());
    if (end != at)
      if (auto r = load_folder(store, folders.substr(at, end - at), with_lists, most); !r)
        return r.error();
    at = end + 1;
  }
  ERR_clear_error();
  return {};
}

Result<void> load(X509_STORE* store, const Config& config) {
  struct stat s {};
  const bool with_lists = !config.crl.empty();
  if (config.ca.empty()) {
    if (auto r = load_system(store, with_lists, config.most_of_folder); !r) return r;
  } else if (::stat(config.ca.c_str(), &s) != 0) {
    return error(Status::kInvalid, "ca-cert-path " + config.ca + ": " + std::strerror(errno));
  } else if (S_ISDIR(s.st_mode)) {
    const auto n = load_folder(store, config.ca, with_lists, config.most_of_folder);
    if (!n) return n.error();
    if (*n == 0)
      return error(Status::kInvalid, "ca-cert-path " + config.ca +
                                         " has no certificate under its hash (openssl rehash)");
  } else if (X509_STORE_load_file(store, config.ca.c_str()) != 1) {
    return openssl_fail("ca-cert-path " + config.ca);
  }
  if (!with_lists) return {};
  X509_LOOKUP* const reader = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (!reader || X509_load_crl_file(reader, config.crl.c_str(), X509_FILETYPE_PEM) < 1)
    return openssl_fail("crl " + config.crl);
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
  return {};
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
  return is_good && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
}

}  // namespace

Result<StorePtr> make_store(const Config& config) {
  StorePtr store(X509_STORE_new());
  if (!store) return error(Status::kNoMemory, openssl_error());
  if (auto r = load(store.get(), config); !r) return r.error();
  return store;
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
