#include "file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace loom::http {
namespace {

constexpr int kAttempts = 3;  // names may move while they are looked up

int openat2(int root, const char* path, uint64_t flags, uint64_t resolve) noexcept {
  open_how how{};
  how.flags = flags;
  how.resolve = resolve;
  for (int i = 0; i < kAttempts; ++i) {
    const long fd = ::syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return -1;
}

int64_t nanoseconds(const timespec& t) noexcept { return t.tv_sec * 1'000'000'000 + t.tv_nsec; }

bool version_of(int fd, FileVersion& out, mode_t* mode = nullptr) noexcept {
  struct stat s;
  if (::fstat(fd, &s) != 0) return false;
  out = {s.st_dev, s.st_ino, static_cast<uint64_t>(s.st_size), nanoseconds(s.st_mtim),
         nanoseconds(s.st_ctim)};
  if (mode) *mode = s.st_mode;
  return true;
}

uint16_t refusal_of(int error) noexcept {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
      return 404;
    case EACCES:
    case EPERM:
    case EXDEV:
      return 403;
    default:
      return 503;
  }
}

}  // namespace

Fd& Fd::operator=(Fd&& o) noexcept {
  std::swap(fd_, o.fd_);
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

File::~File() {
  if (fd >= 0) ::close(fd);
  if (memory) memory->fetch_sub(cost, std::memory_order_relaxed);
}

int64_t File::modified() const noexcept {
  const int64_t ns = version.modified_ns, second = 1'000'000'000;
  return ns / second - (ns % second < 0);
}

bool File::read(uint64_t at, std::span<std::byte> out) const noexcept {
  for (std::size_t n = 0; n < out.size();) {
    const ssize_t got = ::pread(fd, out.data() + n, out.size() - n, static_cast<off_t>(at + n));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    n += static_cast<std::size_t>(got);
  }
  FileVersion now;
  if (!version_of(fd, now)) return false;
  now.changed_ns = version.changed_ns;  // a file that was unlinked or renamed is still the same
  return now == version;
}

OpenedFile open_below(int root, const std::string& path) noexcept {
  OpenedFile out;
  // Found first and looked at, then opened: to open a FIFO or a device does something to it.
  out.fd = Fd(openat2(root, path.c_str(), O_PATH | O_CLOEXEC,
                      RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS));
  if (out.fd.get() < 0) {
    out.refusal = refusal_of(errno);
    return out;
  }
  mode_t mode = 0;
  if (!version_of(out.fd.get(), out.version, &mode)) {
    out.refusal = 503;
  } else if (S_ISDIR(mode)) {
    out.refusal = 301;
  } else if (!S_ISREG(mode)) {
    out.refusal = 403;
  } else {
    const std::string found = "/proc/self/fd/" + std::to_string(out.fd.get());
    out.fd = Fd(::open(found.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (out.fd.get() < 0) out.refusal = refusal_of(errno);
  }
  return out;
}

Result<Fd> open_root(const std::string& path) {
  const auto fail = [&](const char* what) {
    const int error_number = errno;
    return error(
        error_number == ENOENT || error_number == ENOTDIR ? Status::kNotFound : Status::kIo,
        std::string(what) + " '" + path + "': " + std::strerror(error_number));
  };
  Fd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root.get() < 0) return fail("www-root");
  if (Fd probe(openat2(root.get(), ".", O_PATH | O_CLOEXEC, RESOLVE_BENEATH)); probe.get() < 0)
    return fail("openat2 (Linux 5.6) in");
  return root;
}

}  // namespace loom::http
