// Waiting for sessions, epoll sets and kernel descriptors in one call.
#pragma once
#include <poll.h>
#include <signal.h>

#include <hostloom/types.h>

namespace loom::ldp {

bool any_object(pollfd* fds, nfds_t n) noexcept;
// As ppoll(2) with the time in ns, negative = for ever. A count or a negative errno.
int poll_mixed(pollfd* fds, nfds_t n, TimeNs timeout, const sigset_t* mask);

}  // namespace loom::ldp
