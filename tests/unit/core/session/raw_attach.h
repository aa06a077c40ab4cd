// The attach socket without manners: any message, any descriptors, no answer expected.
#pragma once
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "svm/protocol.h"

namespace loom::test {

// How many this process has open.
inline std::size_t open_descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++n;
  return n;
}

// -1: nobody takes the connection.
inline int connect_to(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path.data(), std::min(path.size(), sizeof a.sun_path - 1));
  if (::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0) return fd;
  ::close(fd);
  return -1;
}

// Sends it, with `n_fds` (at most 16) descriptors that nobody asked for. False: it did not go.
inline bool send_raw(int to, const void* bytes, std::size_t n, unsigned n_fds = 0) {
  iovec iov{const_cast<void*>(bytes), n};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)] = {};
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  n_fds = std::min(n_fds, 16u);
  const int null = n_fds ? ::open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
  if (n_fds) {
    m.msg_control = control;
    m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
    cmsghdr* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
    for (unsigned i = 0; i < n_fds; ++i)
      std::memcpy(CMSG_DATA(c) + i * sizeof(int), &null, sizeof null);
  }
  const bool sent = ::sendmsg(to, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(n);
  if (null >= 0) ::close(null);
  return sent;
}

// The next reply, if there is one. The descriptors are the caller's.
inline bool receive_reply(int from, svm::AttachReply& reply, std::vector<int>& fds) {
  iovec iov{&reply, sizeof reply};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * svm::kMaxReplyFds)];
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = sizeof control;
  fds.clear();
  if (::recvmsg(from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != static_cast<ssize_t>(sizeof reply))
    return false;
  if (const cmsghdr* c = CMSG_FIRSTHDR(&m)) {
    fds.resize((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(fds.data(), CMSG_DATA(c), fds.size() * sizeof(int));
  }
  return true;
}

inline svm::AttachRequest attach_request(svm::AttachOp op = svm::AttachOp::kAttach) {
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = op;
  std::strcpy(r.app_name, "raw");
  r.segment_size_mb = r.add_segment_size_mb = 8;
  r.event_queue_size = 64;
  return r;
}

}  // namespace loom::test
