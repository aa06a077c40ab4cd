// Kernel sockets that may still become Hostloom's: what was asked of them, until listen() or
// connect() decides; of datagrams, bind(), connect() or the first one that is sent (datagrams.h).
//
// A candidate is a real kernel socket, so that whatever a program asks before the decision is
// answered. Its options are set in the kernel and written down here. bind() to an address that
// Hostloom may have is only written down: the daemon answers when listen() or connect() asks. When
// the socket stays the kernel's, the bind is done then.
// Threads: any, one mutex; not on the data path.
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

#include "ldp/device.h"
#include "svm/protocol.h"
#include "vcl/session.h"

namespace loom::ldp {

// A new kernel socket.
void note_candidate(int fd) noexcept;
void note_option(int fd, int level, int name, const void* value, socklen_t len);
// The interface that it is to have alone, one of Hostloom's.
void note_device(int fd, Device d);
Device device_of(int fd);
// 0; -EINVAL: is bound.
int note_bind(int fd, const svm::Endpoint& local, const sockaddr* addr, socklen_t len);
// What was bound may be bound again.
void forget_bind(int fd);
// False: not bound. scope: of a link-local address.
bool bound_to(int fd, svm::Endpoint& local, uint32_t* scope = nullptr);
// The daemon keeps that end for it, with the port that was chosen: the kernel chooses another one,
// if the socket becomes its.
void keep_bound_end(int fd, std::shared_ptr<vcl::BoundEnd> end, in_port_t port);
// For getsockname() of a socket that is bound to port 0 and does not listen yet: from here on it
// has the port that was chosen, wherever it goes, or one that the kernel has just found free.
void settle_port(int fd);
bool candidate_is_ip4(int fd) noexcept;
bool candidate_is_datagram(int fd) noexcept;
// dup(): the copy is the same socket.
void copy_candidate(int from, int to);
// It was closed.
void forget_candidate(int fd);

// Gives `s` the options and the address that were asked for.
void prepare_session(int fd, vcl::Session& s);
// `fd`, and whatever else is the same kernel socket, is `s` from now on. Takes the reference over
// in any case. 0, -EMFILE, ...
int become_session(int fd, vcl::Session* s);
// Stays the kernel's: binds if that was asked for. 0 or a negative errno.
int become_kernel(int fd);

void lock_candidates() noexcept;
void unlock_candidates() noexcept;

}  // namespace loom::ldp
