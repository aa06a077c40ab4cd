// Socket options of multicast: man 7 ip, man 7 ipv6, RFC 3678.
//
// An interface is named by its address, or by Hostloom's number of it and one, as IP_PKTINFO has
// it.
#pragma once
#include <sys/socket.h>

#include "vcl/session.h"

namespace loom::ldp {

bool is_group_option(int level, int name) noexcept;
// IP_MULTICAST_IF and IPV6_MULTICAST_IF, by which groups are sent to.
bool is_group_interface(int level, int name) noexcept;
// Whether Hostloom has the one that such an option names. 0 or a negative errno.
int find_group_interface(vcl::AppWorker&, int level, const void* value, socklen_t len);
// Those that may be asked for more than once: each counts.
bool is_membership(int level, int name) noexcept;
// Of datagram sessions. 0 or a negative errno.
int set_group_option(vcl::Session& s, int level, int name, const void* value, socklen_t len);
// What getsockopt() writes, in `out`: bytes, or a negative errno.
int get_group_option(vcl::Session& s, int level, int name, std::byte (&out)[4]);

}  // namespace loom::ldp
