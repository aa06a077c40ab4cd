#include "api/unix_listener.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace loom {
namespace {

// True when something accepts connections there.
bool answers(const sockaddr_un& address, int type) {
  const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const int outcome =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  ::close(fd);
  // EAGAIN: its backlog is full; EPROTOTYPE: it listens for another kind of socket.
  return outcome == 0 || outcome == EAGAIN || outcome == EPROTOTYPE;
}

}  // namespace

Result<int> open_unix_listener(const std::string& path, std::optional<uint32_t> gid, int type) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return error(Status::kInvalid, "socket path '" + path + "' is empty or longer than " +
                                       std::to_string(sizeof address.sun_path - 1) + " bytes");
  std::memcpy(address.sun_path, path.data(), path.size());

  struct stat existing {};
  if (::lstat(path.c_str(), &existing) == 0) {
    if (!S_ISSOCK(existing.st_mode))
      return error(Status::kExists, path + " exists and is not a socket");
    if (answers(address, type))
      return error(Status::kInUse, path + " is in use by another process");
    ::unlink(path.c_str());
  }

  const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const auto failed = [&](const char* what) {
    const std::string message = path + ": " + what + ": " + std::strerror(errno);
    if (fd >= 0) ::close(fd);
    return error(Status::kIo, message);
  };
  if (fd < 0) return failed("socket");
  // The socket must not be open to others even for a moment; connecting is only possible after
  // listen().
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failed("bind");
  if (gid && ::chown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0) return failed("chown");
  if (::chmod(path.c_str(), 0660) != 0) return failed("chmod");
  if (::listen(fd, 64) != 0) return failed("listen");
  return fd;
}

}  // namespace loom
