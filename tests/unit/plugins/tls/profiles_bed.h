// Two profiles by name, of TLS and of DTLS, and how an application names one.
#pragma once
#include "tls_bed.h"

namespace loom::tls {

inline void with_profiles(Config& c) {
  Profile old = c;
  old.most_version = TLS1_2_VERSION;
  old.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
  Profile fresh = c;
  fresh.least_version = TLS1_3_VERSION;
  fresh.ciphersuites = "TLS_CHACHA20_POLY1305_SHA256";
  fresh.groups = "P-384";
  c.profiles = {{"old", old}, {"fresh", fresh}};
}

inline std::string named(std::string_view profile) {
  std::string bytes;
  add_setting(bytes, Setting::kProfile, profile);
  return bytes;
}

}  // namespace loom::tls
