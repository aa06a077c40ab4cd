// LDP_TRANSPARENT_TLS: a program that knows nothing of TLS speaks it. Its stream sockets are TLS
// sessions of the daemon's; it reads and writes plain bytes.
#pragma once
#include "vcl/session.h"

namespace loom::ldp {

// VPPCOM_PROTO_* of the program's stream sockets.
uint8_t stream_proto() noexcept;
// 0, or a negative errno that was explained on standard error: the files of LDP_TLS_CERT_FILE and
// LDP_TLS_KEY_FILE are named and cannot be had. Another certificate must not take their place.
int may_listen();
// Gives it the certificate that LDP_TLS_CERT_FILE and LDP_TLS_KEY_FILE name, and the profile of
// LDP_TLS_PROFILE. Nothing otherwise.
void prepare_tls(vcl::Session&);

}  // namespace loom::ldp
