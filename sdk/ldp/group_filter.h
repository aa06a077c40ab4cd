// IP_MSFILTER and MCAST_MSFILTER: all sources of a membership at once (RFC 3678).
#pragma once
#include <sys/socket.h>

#include "vcl/session.h"

namespace loom::ldp {

bool is_group_filter(int level, int name) noexcept;
// Of datagram sessions. 0 or a negative errno, as Linux has them.
int set_group_filter(vcl::Session& s, int level, const void* value, socklen_t len, int name);
// `value` says which group and interface, and for how many sources there is room.
int get_group_filter(vcl::Session& s, int level, void* value, socklen_t* len, int name);

}  // namespace loom::ldp
