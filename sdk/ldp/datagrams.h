// Datagram sockets: where their home is decided, and what a message says beside its bytes.
//
// A candidate becomes Hostloom's when it is bound to an address that is not loopback's, connected
// to one, or when it first sends to one, a group's included; it stays the kernel's when the daemon
// has no such transport, or does not have the address. A socket that is Hostloom's reaches no
// loopback address. Threads: any; one socket at a time is decided.
#pragma once
#include <sys/socket.h>

#include "svm/protocol.h"
#include "vcl/session.h"

namespace loom::ldp {

// bind() and connect() of a candidate. 0 or a negative errno.
int bind_datagrams(int fd, const svm::Endpoint& local, const sockaddr* addr, socklen_t len);
int connect_datagrams(int fd, const sockaddr* addr, socklen_t len);
// connect() of a session; AF_UNSPEC takes the peer away.
int connect_datagrams(vcl::Session& s, const sockaddr* addr, socklen_t len);
// Before a candidate sends to an address. 0: it is Hostloom's now; 1: the kernel is to send, or to
// say what is wrong with the address, which decides nothing; else a negative errno.
int settle_datagrams(int fd, const sockaddr* addr, socklen_t len);

// sendmsg() and recvmsg() of a session. Counts or negative errno.
ssize_t transmit_datagram(vcl::Session& s, const msghdr& m, int flags);
ssize_t receive_datagram(vcl::Session& s, msghdr& m, int flags);
// Several with one lock. How many, with the length of each, or the negative errno of the first;
// sends as many as can be, and receives kMostTogether at most, waiting for the first alone.
constexpr unsigned kMostTogether = 32;
int transmit_datagrams(vcl::Session& s, mmsghdr* messages, unsigned n, int flags);
int receive_datagrams(vcl::Session& s, mmsghdr* messages, unsigned n, int flags);
// With MSG_ERRQUEUE: an error of what was sent. -EAGAIN: there is none.
ssize_t receive_datagram_error(vcl::Session& s, msghdr& m);

// In the child: no other thread is deciding.
void datagrams_after_fork() noexcept;

}  // namespace loom::ldp
