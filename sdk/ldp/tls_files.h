// The certificate and the key that LDP_TLS_CERT_FILE and LDP_TLS_KEY_FILE name.
#pragma once
#include <hostloom/secret.h>

#include <string>

namespace loom::ldp {

struct TlsFiles {
  SecretString settings;  // hostloom/endpoint_settings.h; "": none are named, or there is an error
  int error = 0;          // a negative errno: they are named and cannot be had
  std::string why;        // in words, with the variable and the path
};

// Paths, or null or "" where the variable is not set. One without the other is an error. `profile`:
// the name in LDP_TLS_PROFILE, which goes with them; the daemon knows whether there is such a one.
TlsFiles read_tls_files(const char* certificate_path, const char* key_path,
                        const char* profile = nullptr);

}  // namespace loom::ldp
