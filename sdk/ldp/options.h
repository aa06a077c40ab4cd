// Socket options of sessions.
//
// The value of a set option is kept in the session and told to the daemon with all the others.
// What has no meaning here fails with ENOPROTOOPT, as an option of a protocol that the kernel does
// not have.
#pragma once
#include <sys/socket.h>

#include "vcl/session.h"

namespace loom::ldp {

// As setsockopt() and getsockopt(): 0 or a negative errno.
int set_option(vcl::Session& s, int level, int name, const void* value, socklen_t len);
int get_option(vcl::Session& s, int level, int name, void* value, socklen_t* len);
// TCP_INFO (tcp_info.cc).
int get_tcp_info(vcl::Session& s, void* value, socklen_t* len);
// MSS in force, for TCP_MAXSEG.
uint32_t current_mss(vcl::Session& s);

}  // namespace loom::ldp
