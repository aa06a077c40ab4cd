#include "ldp/transparent_tls.h"

#include <cstdlib>
#include <cstring>

#include "ldp/process.h"
#include "ldp/tls_files.h"
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

// Read once, when the first socket needs them.
const TlsFiles& files() {
  static const TlsFiles& read = *new TlsFiles(read_tls_files(std::getenv("LDP_TLS_CERT_FILE"),
                                                             std::getenv("LDP_TLS_KEY_FILE"),
                                                             std::getenv("LDP_TLS_PROFILE")));
  return read;  // exit is late
}

}  // namespace

uint8_t stream_proto() noexcept { return is_wanted() ? VPPCOM_PROTO_TLS : VPPCOM_PROTO_TCP; }

int may_listen() {
  if (!is_wanted() || files().error == 0) return 0;
  debug(0, "cannot listen: %s", files().why.c_str());
  return files().error;
}

void prepare_tls(vcl::Session& s) {
  if (is_wanted()) s.settings = files().settings;
}

}  // namespace loom::ldp
