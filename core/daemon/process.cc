#include "daemon/process.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace loom {
namespace {

// What the parent's exit says about the child.
[[noreturn]] void wait_for_child(pid_t child, int pipe) {
  char byte = 0;
  ssize_t n;
  do n = ::read(pipe, &byte, 1);
  while (n < 0 && errno == EINTR);
  if (n == 1) ::_exit(0);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

}  // namespace

Result<Background> Background::enter(bool background) {
  if (!background) return Background(-1);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return error(Status::kIo, std::string("pipe: ") + std::strerror(errno));
  const pid_t child = ::fork();
  if (child < 0) return error(Status::kIo, std::string("fork: ") + std::strerror(errno));
  if (child > 0) {
    ::close(ends[1]);
    wait_for_child(child, ends[0]);
  }
  ::close(ends[0]);
  ::setsid();
  return Background(ends[1]);
}

Background::Background(Background&& o) noexcept : pipe_(std::exchange(o.pipe_, -1)) {}
Background::~Background() {
  if (pipe_ >= 0) ::close(pipe_);
}

void Background::ready() {
  if (pipe_ < 0) return;
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {0, 1, 2})
    if (null >= 0) ::dup2(null, fd);
  if (null > 2) ::close(null);
  const char byte = 1;
  // Nobody is left to tell when the parent is gone.
  [[maybe_unused]] const ssize_t n = ::write(pipe_, &byte, 1);
  ::close(std::exchange(pipe_, -1));
}

void raise_descriptor_limit() {
  constexpr rlim_t kMost = 1u << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t most = std::min(limit.rlim_max, kMost);
  if (limit.rlim_cur >= most) return;
  limit.rlim_cur = most;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);  // without, fewer applications find room
}

void notify_service_manager(const char* state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!path || (*path != '/' && *path != '@') || std::strlen(path) >= sizeof address.sun_path)
    return;
  const std::size_t n = std::strlen(path);
  std::memcpy(address.sun_path, path, n);
  if (*path == '@') address.sun_path[0] = '\0';
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  ::sendto(fd, state, std::strlen(state), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + n));
  ::close(fd);
}

Result<std::string> make_network_namespace() {
  // unshare() changes the calling thread alone, so a thread that ends afterwards keeps the process
  // where it is.
  int fd = -1;
  int failure = 0;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      failure = errno;
      return;
    }
    fd = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0) failure = errno;
    const int s = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq lo{};
    std::strcpy(lo.ifr_name, "lo");
    lo.ifr_flags = IFF_UP;
    if (s >= 0) {
      ::ioctl(s, SIOCSIFFLAGS, &lo);
      ::close(s);
    }
  }).join();
  if (fd < 0)
    return error(Status::kPermission,
                 std::string("cannot make a network namespace: ") + std::strerror(failure) +
                     " (run as root, or below `unshare --user --map-root-user --net`)");
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd);
}

}  // namespace loom
