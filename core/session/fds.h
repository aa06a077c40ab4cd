// How descriptors are handed over to processes. Private to core/session/.
#pragma once
#include <sys/socket.h>

#include <cstring>
#include <span>

namespace loom::session {

// Has `m` hand over `fds`, one or more, by way of `control`: aligned as a cmsghdr, with room for
// them, and there as long as `m`. What the kernel reads of it is written, padding too.
inline void put_fds(msghdr& m, std::span<char> control, std::span<const int> fds) noexcept {
  m.msg_control = control.data();
  m.msg_controllen = CMSG_SPACE(fds.size_bytes());
  std::memset(control.data(), 0, m.msg_controllen);
  cmsghdr* const c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
}

}  // namespace loom::session
