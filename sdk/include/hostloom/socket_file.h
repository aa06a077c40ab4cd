// The file of a Unix socket (unix(7)), which stays when who has made it is gone, and which others
// may have replaced. Any thread.
#pragma once
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string>

#include <hostloom/unique_fd.h>

namespace loom {

// Whether `path` is the file of a socket, of whatever type, that nobody has any more, so that it
// may be removed. False as well when nobody can say. Who has the socket does not notice the look.
inline bool is_left_over_socket(const std::string& path) noexcept {
  sockaddr_un name{};
  struct stat s {};
  if (path.empty() || path.size() >= sizeof name.sun_path) return false;
  if (::lstat(path.c_str(), &s) != 0 || !S_ISSOCK(s.st_mode)) return false;
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.size());
  // A socket that listens, or will, is of another type and refuses this one for that; a datagram
  // socket takes it; and only where there is none does the kernel itself refuse.
  const UniqueFd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe && ::connect(probe.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 &&
         errno == ECONNREFUSED;
}

}  // namespace loom
