// From a socket path to a mapped segment that cannot fault.
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "stats/stats_reader.h"

namespace loom {
namespace {

constexpr uint64_t kMaxSize = 1ull << 30;  // of a segment, as `statseg { size }` has it

struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

// The first descriptor of the server's message, or -1 with errno. The kernel closes what else
// comes: there is no room for it, as there would be in the padding.
int receive_fd(int socket) {
  char byte;
  iovec iov{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = CMSG_LEN(sizeof(int));
  if (::recvmsg(socket, &m, MSG_CMSG_CLOEXEC) < 0) return -1;
  int fd = -1;
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof fd))
      std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
  if (fd < 0) errno = EPROTO;
  return fd;
}

}  // namespace

Result<StatsReader> StatsReader::connect(const std::string& path,
                                         std::chrono::milliseconds timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return error(Status::kInvalid, "socket path '" + path + "' is empty or too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  const Fd s{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  if (s.fd < 0) return error(Status::kIo, std::string("socket: ") + std::strerror(errno));
  // A listener whose backlog is full would otherwise keep connect() waiting for ever.
  const timeval limit{.tv_sec = timeout.count() / 1000, .tv_usec = timeout.count() % 1000 * 1000};
  (void)::setsockopt(s.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(s.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int code = errno;
    return error(code == EACCES   ? Status::kPermission
                 : code == EAGAIN ? Status::kTimedOut
                                  : Status::kNotConnected,
                 path + ": " + std::strerror(code));
  }
  pollfd p{.fd = s.fd, .events = POLLIN, .revents = 0};
  const int ready = ::poll(&p, 1, static_cast<int>(timeout.count()));
  if (ready == 0) return error(Status::kTimedOut, path + ": no segment came in time");
  const int fd = receive_fd(s.fd);
  if (fd < 0) return error(Status::kMalformed, path + ": no segment came: " + std::strerror(errno));
  auto reader = open(fd);
  if (!reader) return error(reader.error().code, path + ": " + reader.error().message);
  return reader;
}

Result<StatsReader> StatsReader::open(int fd) {
  const Fd own{fd};
  struct stat st {};
  struct statfs fs {};
  if (::fstat(fd, &st) != 0 || ::fstatfs(fd, &fs) != 0)
    return error(Status::kIo, std::string("the segment: ") + std::strerror(errno));
  // Reading a page that a file has lost, or a huge page that the system has not, ends the process.
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || !(seals & F_SEAL_SHRINK) || fs.f_type != TMPFS_MAGIC)
    return error(Status::kUnsupported,
                 "the segment is not memory that is sealed against shrinking");
  const auto size = static_cast<uint64_t>(st.st_size);
  if (st.st_size < 0 || size < sizeof(stats::SegmentHeader) || size > kMaxSize)
    return error(Status::kMalformed, "a segment of " + std::to_string(st.st_size) + " bytes");
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED)
    return error(Status::kIo, std::string("mmap of the segment: ") + std::strerror(errno));
  StatsReader reader(static_cast<const std::byte*>(memory), size);
  const uint64_t version = static_cast<const stats::SegmentHeader*>(memory)->version;
  if (version != stats::kSegmentVersion)
    return error(Status::kUnsupported, "statistics of version " + std::to_string(version) +
                                           ", this reads " +
                                           std::to_string(stats::kSegmentVersion));
  return reader;
}

StatsReader::StatsReader(StatsReader&& o) noexcept
    : memory_(std::exchange(o.memory_, nullptr)), size_(o.size_), patience_(o.patience_) {}

StatsReader& StatsReader::operator=(StatsReader&& o) noexcept {
  std::swap(memory_, o.memory_);
  std::swap(size_, o.size_);
  patience_ = o.patience_;
  return *this;
}

StatsReader::~StatsReader() {
  if (memory_) ::munmap(const_cast<std::byte*>(memory_), size_);
}

}  // namespace loom
