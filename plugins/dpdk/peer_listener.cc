#include "peer_listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include <hostloom/socket_file.h>

#include "imports.h"

namespace loom::dpdk {
namespace {

constexpr const char* kInstead =
    "; without `server=1` it connects to who listens at its path, again and again";

// The turn's.
thread_local int listening = -1;
thread_local bool has_guest_come = false;

// What the driver calls in place of connect(2), with a socket that it has just made: that becomes
// the peer's.
int connected(int fd, const sockaddr* to, socklen_t size) {
  if (listening < 0) return ::connect(fd, to, size);
  UniqueFd guest;
  do guest = UniqueFd(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
  while (!guest && (errno == EINTR || errno == ECONNABORTED));
  has_guest_come |= guest.get() >= 0;
  return guest && ::dup3(guest.get(), fd, O_CLOEXEC) == fd ? 0 : -1;
}

// Once a process: the driver stays loaded.
Result<void> lead_connects_here() {
  static bool is_done = false;
  if (is_done) return {};
  const std::array imports{Import{"connect", reinterpret_cast<void*>(&connected)}};
  auto done = redirect_imports("librte_net_virtio.so", imports);
  is_done = done.has_value();
  return done;
}

Error failed(const std::string& path, const char* what) {
  return error(errno == EADDRINUSE ? Status::kExists : Status::kIo,
               path + ": " + what + ": " + std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<PeerListener>> PeerListener::open(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof name.sun_path)
    return error(Status::kInvalid, "'" + path + "': a socket's path has 1 to " +
                                       std::to_string(sizeof name.sun_path - 1) + " characters");
  std::memcpy(name.sun_path, path.c_str(), path.size());
  if (auto led = lead_connects_here(); !led)
    return error(Status::kUnsupported,
                 "this net_virtio_user cannot be kept from waiting for its peer on EAL's thread: " +
                     led.error().message + kInstead);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return failed(path, "socket");
  const auto bind = [&] {
    return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
  };
  if (!bind()) {
    if (errno != EADDRINUSE) return failed(path, "bind");
    if (is_left_over_socket(path)) (void)::unlink(path.c_str());
    if (!bind()) return failed(path, "bind");
  }
  if (::listen(fd.get(), 1) != 0) return failed(path, "listen");
  return std::unique_ptr<PeerListener>(new PeerListener(path, std::move(fd)));
}

PeerListener::~PeerListener() {
  fd_ = UniqueFd();
  if (is_left_over_socket(path_)) (void)::unlink(path_.c_str());
}

bool PeerListener::has_guest() const noexcept {
  pollfd p{.fd = fd_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&p, 1, 0) == 1 && p.revents == POLLIN;
}

PeerListener::Turn::Turn(const PeerListener* l) noexcept {
  listening = l ? l->fd_.get() : -1;
  has_guest_come = false;
}
PeerListener::Turn::~Turn() { listening = -1; }
bool PeerListener::Turn::has_come() const noexcept { return has_guest_come; }

}  // namespace loom::dpdk
