// Files that an operator or a client names, and that only the daemon's user is to read: captures,
// API traces. Another user may have put something at that place before, as anybody can in /tmp: a
// link, a pipe that would block, a file that is theirs and stays readable to them.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include <hostloom/status.h>

namespace loom {

// Opens `path` for writing, empty and with mode 0600; the descriptor is the caller's. Errors: kIo,
// with the system's reason; kPermission: what is there is not a plain file of this user's alone.
inline Result<int> open_private_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                        S_IRUSR | S_IWUSR);
  const auto failed = [&](Status code, const std::string& why) {
    if (fd >= 0) ::close(fd);
    return error(code, path + ": " + why);
  };
  if (fd < 0) return failed(Status::kIo, std::strerror(errno));
  struct stat s {};
  if (::fstat(fd, &s) != 0) return failed(Status::kIo, std::strerror(errno));
  if (!S_ISREG(s.st_mode) || s.st_uid != ::geteuid() || s.st_nlink != 1)
    return failed(Status::kPermission, "not a plain file of this user's alone");
  if (::fchmod(fd, S_IRUSR | S_IWUSR) != 0 || ::ftruncate(fd, 0) != 0)
    return failed(Status::kIo, std::strerror(errno));
  return fd;
}

}  // namespace loom
