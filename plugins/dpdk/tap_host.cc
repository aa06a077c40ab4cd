#include "tap_host.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <hostloom/unique_fd.h>

#include "imports.h"

namespace loom::dpdk {
namespace {

thread_local bool is_without_host = false;

// "": it is a queue of none, as a descriptor that only keeps the interface is.
std::string name_of(int fd) {
  ifreq r{};
  return ::ioctl(fd, TUNGETIFF, &r) == 0 ? r.ifr_name : "";
}

// Who may not ask has made it here a moment ago.
bool is_in_our_namespace(int fd) {
  const UniqueFd its(::ioctl(fd, TUNGETDEVNETNS));
  struct stat a {
  }, b{};
  return !its || ::fstat(its.get(), &a) != 0 || ::stat("/proc/thread-self/ns/net", &b) != 0 ||
         a.st_ino == b.st_ino;
}

// In place of ioctl(2). Of all that the driver asks of the kernel only these are by a name.
int asked(int fd, unsigned long request, void* argument) {
  if (is_without_host && request == SIOCGIFFLAGS) {
    static_cast<ifreq*>(argument)->ifr_flags = IFF_UP | IFF_RUNNING;
    return 0;
  }
  if (is_without_host && request == SIOCSIFFLAGS) return 0;
  return ::ioctl(fd, request, argument);
}

}  // namespace

void TapHost::find(unsigned if_index) {
  char name[IF_NAMESIZE];
  if (name_.empty() && ::if_indextoname(if_index, name)) name_ = name;
  fd_ = -1;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", none)) {
    if (std::filesystem::read_symlink(entry.path(), none) != "/dev/net/tun") continue;
    const int fd = std::atoi(entry.path().filename().c_str());
    if (name_.empty() || name_of(fd) != name_ || !is_in_our_namespace(fd)) continue;
    fd_ = fd;
    return;
  }
}

HostEnd TapHost::where(unsigned if_index) const noexcept {
  ifreq r{};
  if (::ioctl(fd_, TUNGETIFF, &r) != 0 && errno == EBADFD) return HostEnd::kGone;
  return ::if_nametoindex(name_.c_str()) == if_index ? HostEnd::kHere : HostEnd::kElsewhere;
}

// The kernel takes packets of ours while it is.
bool TapHost::is_up() const noexcept {
  pollfd p{.fd = fd_, .events = POLLOUT, .revents = 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & (POLLOUT | POLLERR)) == POLLOUT;
}

WithoutHost::WithoutHost(bool is_elsewhere) noexcept : before_(is_without_host) {
  is_without_host = is_elsewhere;
}
WithoutHost::~WithoutHost() { is_without_host = before_; }

Result<void> guard_tap() {
  static bool is_done = false;
  if (is_done) return {};
  const std::array imports{Import{"ioctl", reinterpret_cast<void*>(&asked)}};
  auto done = redirect_imports("librte_net_tap.so", imports);
  is_done = done.has_value();
  return done;
}

}  // namespace loom::dpdk
