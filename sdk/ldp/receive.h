// Receiving on sessions, for the calls that read. Counts or negative errno.
#pragma once
#include <sys/socket.h>

#include "vcl/session.h"

namespace loom::ldp {

ssize_t receive(vcl::Session& s, std::span<const iovec> to, int flags);
ssize_t receive(vcl::Session& s, void* p, size_t n, int flags);

}  // namespace loom::ldp
