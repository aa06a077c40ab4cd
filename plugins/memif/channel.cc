#include "channel.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include <hostloom/socket_file.h>

namespace loom::memif {
namespace {

constexpr int kBacklog = 128;
constexpr uid_t kNobody = 65534;  // as the kernel calls who has no number here

struct Address {
  sockaddr_un un{};
  socklen_t size = sizeof un;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&un); }
};

// Of an abstract socket each byte counts: the name, without a zero behind it.
Result<Address> address_of(const std::string& path) {
  Address a;
  a.un.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof a.un.sun_path)
    return error(Status::kInvalid, "socket '" + path + "' is not of 1 to " +
                                       std::to_string(sizeof a.un.sun_path - 1) + " characters");
  std::memcpy(a.un.sun_path, path.data(), path.size());
  if (is_abstract(path)) {
    a.un.sun_path[0] = 0;
    a.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  }
  return a;
}

Error failed(const std::string& path, const char* what) {
  const Status s = errno == EACCES || errno == EPERM ? Status::kPermission : Status::kIo;
  return error(s, (is_abstract(path) ? "socket '" : "socket file '") + path + "': " + what + ": " +
                      std::strerror(errno));
}

UniqueFd open_socket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

}  // namespace

bool Channel::send(const Message& m, int fd) const noexcept {
  iovec iov{const_cast<Message*>(&m), sizeof m};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr h{};
  h.msg_iov = &iov;
  h.msg_iovlen = 1;
  if (fd >= 0) {
    h.msg_control = control;
    h.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&h);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  return ::sendmsg(fd_.get(), &h, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof m;
}

Received Channel::receive(Message& m, UniqueFd& fd) const noexcept {
  fd = UniqueFd();
  iovec iov{&m, sizeof m};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr h{};
  h.msg_iov = &iov;
  h.msg_iovlen = 1;
  h.msg_control = control;
  // Room for one descriptor, without the padding, in which a second would arrive. The kernel closes
  // what is too many.
  h.msg_controllen = CMSG_LEN(sizeof(int));
  const ssize_t n = ::recvmsg(fd_.get(), &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? Received::kNothing : Received::kClosed;
  for (cmsghdr* c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    int got;
    std::memcpy(&got, CMSG_DATA(c), sizeof got);
    fd = UniqueFd(got);
  }
  if (n == 0) return Received::kClosed;
  return n == sizeof m && !(h.msg_flags & MSG_TRUNC) ? Received::kMessage : Received::kMalformed;
}

uid_t Channel::peer_uid() const noexcept {
  ucred c{};
  socklen_t size = sizeof c;
  return ::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &c, &size) == 0 ? c.uid : kNobody;
}

void Channel::send_disconnect(std::string_view reason) const noexcept {
  Message m(MessageType::kDisconnect);
  put_text(m.disconnect.reason, reason);
  (void)send(m);
}

Result<UniqueFd> connect_to(const std::string& path) {
  const auto a = address_of(path);
  if (!a) return a.error();
  UniqueFd fd = open_socket();
  if (!fd) return failed(path, "socket");
  if (::connect(fd.get(), a->get(), a->size) != 0) return failed(path, "connect");
  return fd;
}

Result<UniqueFd> listen_at(const std::string& path) {
  const auto a = address_of(path);
  if (!a) return a.error();
  UniqueFd fd = open_socket();
  if (!fd) return failed(path, "socket");
  (void)::fchmod(fd.get(), 0660);  // of the file that bind makes
  if (::bind(fd.get(), a->get(), a->size) != 0) {
    // An abstract name ends with its listener.
    if (errno != EADDRINUSE) return failed(path, "bind");
    if (!is_abstract(path) && is_left_over_socket(path)) ::unlink(path.c_str());
    if (::bind(fd.get(), a->get(), a->size) != 0) return failed(path, "bind");
  }
  if (::listen(fd.get(), kBacklog) != 0) return failed(path, "listen");
  return fd;
}

}  // namespace loom::memif
