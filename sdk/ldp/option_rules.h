// What becomes of options that sessions do not have. README.md has the table. setsockopt() says the
// same of one before it is decided whose the socket is, and then.
#pragma once
#include <sys/socket.h>

namespace loom::ldp {

// It says which packets a socket gets, what it is told of them, or what leaves: who asks for that
// and does not get it is to know (ENOPROTOOPT). Not so what switches off what is off.
bool is_refused(bool is_datagram, int level, int name, const void* value, socklen_t len) noexcept;
// It may make something faster, or means something in the kernel's network alone, or is that: taken
// and forgotten.
bool is_hint(bool is_datagram, int level, int name, const void* value, socklen_t len) noexcept;

}  // namespace loom::ldp
