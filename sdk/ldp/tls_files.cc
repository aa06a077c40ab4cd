#include "ldp/tls_files.h"

#include <hostloom/endpoint_settings.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace loom::ldp {
namespace {

constexpr char kCertificate[] = "LDP_TLS_CERT_FILE", kKey[] = "LDP_TLS_KEY_FILE";

void fail(TlsFiles& files, const char* variable, const char* path, int error, const char* why) {
  files.error = -error;
  files.why = std::string(variable) + (path ? std::string("=") + path : "") + ": " + why;
}

// False: it says why not.
bool add_file(TlsFiles& files, loom::Setting type, const char* variable, const char* path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> f{std::fopen(path, "re"), std::fclose};
  if (!f) return fail(files, variable, path, errno, std::strerror(errno)), false;
  std::setvbuf(f.get(), nullptr, _IONBF, 0);  // no copy of a key in a buffer of libc's
  SecretString text(kMostSettingsBytes + 1, 0);
  text.resize(std::fread(text.data(), 1, text.size(), f.get()));
  const int error = std::ferror(f.get()) ? errno : 0;
  if (error != 0)
    fail(files, variable, path, error, std::strerror(error));
  else if (text.size() > kMostSettingsBytes || text.find("-----BEGIN ") == text.npos)
    fail(files, variable, path, EINVAL, "is not a PEM file");
  else
    add_setting(files.settings, type, text);
  return files.error == 0;
}

}  // namespace

TlsFiles read_tls_files(const char* certificate_path, const char* key_path, const char* profile) {
  TlsFiles files;
  if (profile && *profile) add_setting(files.settings, Setting::kProfile, profile);
  const bool has_certificate = certificate_path && *certificate_path;
  const bool has_key = key_path && *key_path;
  if (!has_certificate && !has_key) return files;
  if (!has_certificate || !has_key) {
    fail(files, has_key ? kCertificate : kKey, nullptr, EINVAL,
         has_key ? "is not set, and LDP_TLS_KEY_FILE is" : "is not set, and LDP_TLS_CERT_FILE is");
    return files;
  }
  if (!add_file(files, Setting::kCertificate, kCertificate, certificate_path) ||
      !add_file(files, Setting::kPrivateKey, kKey, key_path))
    files.settings = {};
  return files;
}

}  // namespace loom::ldp
