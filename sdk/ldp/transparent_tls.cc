#include "ldp/transparent_tls.h"

#include <hostloom/endpoint_settings.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "ldp/process.h"
#include "vcl/include/vcl/vppcom.h"

namespace loom::ldp {
namespace {

bool is_wanted() noexcept {
  static const bool wanted = [] {
    const char* text = std::getenv("LDP_TRANSPARENT_TLS");
    return text && *text && std::strcmp(text, "0") != 0;
  }();
  return wanted;
}

// "": there is none; the reason was said.
std::string file_of(const char* variable) {
  const char* path = std::getenv(variable);
  if (!path || !*path) return {};
  const std::unique_ptr<FILE, int (*)(FILE*)> f{std::fopen(path, "re"), std::fclose};
  std::string text;
  char part[4096];
  while (f && text.size() <= kMostSettingsBytes) {
    const size_t n = std::fread(part, 1, sizeof part, f.get());
    if (n == 0) break;
    text.append(part, n);
  }
  if (!f || text.empty() || text.size() > kMostSettingsBytes) {
    debug(0, "%s=%s: %s", variable, path, f ? "not a PEM file" : std::strerror(errno));
    return {};
  }
  return text;
}

std::string make_settings() {
  const std::string certificate = file_of("LDP_TLS_CERT_FILE"), key = file_of("LDP_TLS_KEY_FILE");
  std::string settings;
  if (certificate.empty() || key.empty()) return settings;  // the daemon's, then
  add_setting(settings, Setting::kCertificate, certificate);
  add_setting(settings, Setting::kPrivateKey, key);
  return settings;
}

}  // namespace

uint8_t stream_proto() noexcept { return is_wanted() ? VPPCOM_PROTO_TLS : VPPCOM_PROTO_TCP; }

void prepare_tls(vcl::Session& s) {
  if (!is_wanted()) return;
  static const std::string& settings = *new std::string(make_settings());  // exit is late
  s.settings = settings;
}

}  // namespace loom::ldp
