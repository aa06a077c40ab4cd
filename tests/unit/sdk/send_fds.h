// A message with as many descriptors as the test likes.
#pragma once
#include <sys/socket.h>

#include <cstring>
#include <span>
#include <vector>

namespace loom {

inline bool send_fds(int socket, std::span<const std::byte> bytes, const std::vector<int>& fds) {
  iovec iov{const_cast<std::byte*>(bytes.data()), bytes.size()};
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  return ::sendmsg(socket, &m, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

}  // namespace loom
