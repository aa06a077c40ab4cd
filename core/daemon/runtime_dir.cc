#include "daemon/runtime_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace loom {
namespace {

Error errno_error(const std::string& path, const char* what) {
  return error(errno == EACCES || errno == EPERM ? Status::kPermission : Status::kIo,
               path + ": " + what + ": " + std::strerror(errno));
}

// Makes the missing parents too.
Result<void> make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  const std::size_t slash = path.find_last_of('/');
  if (errno != ENOENT || slash == path.npos || slash == 0) return errno_error(path, "mkdir");
  auto parent = make_directory(path.substr(0, slash), 0755);
  if (!parent) return parent;
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  return errno_error(path, "mkdir");
}

bool write_pid(int fd) {
  const std::string pid = std::to_string(::getpid()) + "\n";
  return ::ftruncate(fd, 0) == 0 &&
         ::pwrite(fd, pid.data(), pid.size(), 0) == static_cast<ssize_t>(pid.size());
}

std::string holder_of(int fd) {
  char pid[24] = {};
  const ssize_t n = ::pread(fd, pid, sizeof pid - 1, 0);
  const long number = n > 0 ? std::strtol(pid, nullptr, 10) : 0;
  return number > 0 ? "process " + std::to_string(number) : "another process";
}

}  // namespace

Result<RuntimeDir> RuntimeDir::open(const std::string& path, std::optional<uint32_t> gid) {
  const bool is_root = ::geteuid() == 0;
  auto made = make_directory(path, is_root ? 0755 : 0700);
  if (!made) return made.error();
  // A directory that somebody else made below /tmp would let them replace our sockets.
  struct stat s {};
  if (::lstat(path.c_str(), &s) != 0) return errno_error(path, "stat");
  if (!S_ISDIR(s.st_mode)) return error(Status::kExists, path + " is not a directory");
  if (s.st_uid != ::geteuid() && !is_root)
    return error(Status::kPermission,
                 path + " belongs to user " + std::to_string(s.st_uid) + ", not to this one");
  if (gid && ::chown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0)
    return errno_error(path, "chown");

  const std::string file = path + "/hostloom.lock";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return errno_error(file, "open");
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const bool is_taken = errno == EWOULDBLOCK;
    const Error e = is_taken ? error(Status::kInUse,
                                     "runtime directory " + path + " is in use by " + holder_of(fd))
                             : errno_error(file, "lock");
    ::close(fd);
    return e;
  }
  if (!write_pid(fd)) {
    const Error e = errno_error(file, "write");
    ::close(fd);
    return e;
  }
  return RuntimeDir(path, fd);
}

RuntimeDir::RuntimeDir(RuntimeDir&& o) noexcept
    : path_(std::move(o.path_)), lock_(std::exchange(o.lock_, -1)) {}

// The file stays: removing it would let two daemons lock two files of one name.
RuntimeDir::~RuntimeDir() {
  if (lock_ >= 0) ::close(lock_);
}

Result<PidFile> PidFile::write(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return errno_error(path, "open");
  const bool written = write_pid(fd);
  const Error e = errno_error(path, "write");
  ::close(fd);
  if (!written) return e;
  return PidFile(path);
}

PidFile::PidFile(PidFile&& o) noexcept : path_(std::exchange(o.path_, {})) {}
PidFile::~PidFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace loom
