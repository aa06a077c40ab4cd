// Sending on sessions, for the calls that write. Counts or negative errno; a broken connection also
// raises SIGPIPE unless MSG_NOSIGNAL is among the flags.
#pragma once
#include <sys/socket.h>

#include "vcl/session.h"

namespace loom::ldp {

ssize_t transmit(vcl::Session& s, std::span<const iovec> from, int flags);
ssize_t transmit(vcl::Session& s, const void* p, size_t n, int flags);
void raise_sigpipe() noexcept;

}  // namespace loom::ldp
