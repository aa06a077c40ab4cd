// Socket addresses and endpoints. On an AF_INET6 socket IPv4 endpoints have the name ::ffff:a.b.c.d
// (RFC 4291 section 2.5.5.2), in both directions.
#pragma once
#include <sys/socket.h>

#include "svm/protocol.h"

namespace loom::ldp {

// 0, -EINVAL (too short), -EAFNOSUPPORT.
int to_endpoint(const sockaddr* addr, socklen_t len, bool socket_is_ip4, svm::Endpoint& out);
// Of a datagram, which may be to an AF_INET name on an AF_INET6 socket, and to an AF_UNSPEC one on
// an AF_INET socket, where it counts as AF_INET. 0; 1: AF_UNSPEC on an AF_INET6 socket, which is no
// destination; -EINVAL, -EAFNOSUPPORT.
int to_destination(const sockaddr* addr, socklen_t len, bool socket_is_ip4, svm::Endpoint& out);
// The interface that the name of a destination gives beside it, Linux's number; 0: none, or the
// address means the same on all links.
uint32_t scope_of(const void* addr, socklen_t len, const svm::Endpoint& e) noexcept;
// As getsockname(): writes what fits, and the whole length. `scope`: the interface, Linux's number,
// for an address that means something on its link alone.
int give_name(const svm::Endpoint& e, bool socket_is_ip4, sockaddr* addr, socklen_t* len,
              uint32_t scope = 0);

bool is_loopback(const svm::Endpoint& e) noexcept;
// Broadcast to everybody, or multicast.
bool is_group(const svm::Endpoint& e) noexcept;
// RFC 4007: link-local, or a group of an interface or a link.
bool is_of_link(const svm::Endpoint& e) noexcept;
bool is_wildcard(const svm::Endpoint& e) noexcept;

}  // namespace loom::ldp
