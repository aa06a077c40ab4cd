// Options that say which packets a socket gets: the only interface, and those that there are not.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <cstring>

#include "probe.h"

namespace loom::probe {
namespace {

constexpr int kMinHops = 73, k2292Pktinfo = 2;  // <linux/in6.h>

int use_device(int fd, const char* name) {
  return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, static_cast<socklen_t>(strlen(name)))
             ? -errno
             : 0;
}
std::string device_of(int fd) {
  char name[IFNAMSIZ];
  socklen_t len = sizeof name;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0);
  CHECK(len == 0 || name[len - 1] == 0);
  return len == 0 ? "" : name;
}
bool is_kernels(int fd) {
  struct stat about;
  CHECK(fstat(fd, &about) == 0);
  return S_ISSOCK(about.st_mode);
}

// One of Hostloom's is kept for the session; one that the kernel alone has decides whose it is.
void devices() {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM})
    for (const bool is_bound_first : {false, true}) {
      const auto port = static_cast<uint16_t>(90 + 2 * type + is_bound_first);
      const int fd = socket(AF_INET, type, 0);
      CHECK(device_of(fd) == "" && use_device(fd, "nowhere") == -ENODEV);
      CHECK(use_device(fd, "") == 0);
      if (is_bound_first) CHECK(bind_to(fd, "0.0.0.0", port) == 0);
      CHECK(use_device(fd, "wire3") == 0 && use_device(fd, "") == 0 && device_of(fd) == "");
      CHECK(use_device(fd, "wire4") == 0 && use_device(fd, "wire3") == 0);
      CHECK(use_device(fd, "nowhere") == -ENODEV && device_of(fd) == "wire3");
      CHECK(option(fd, SOL_SOCKET, SO_BINDTOIFINDEX) == 3);
      if (!is_bound_first) CHECK(bind_to(fd, "0.0.0.0", port) == 0);
      if (type == SOCK_STREAM) CHECK(is_kernels(fd) && listen(fd, 1) == 0);
      CHECK(!is_kernels(fd) && device_of(fd) == "wire3");
      CHECK(use_device(fd, "wire3") == 0 && use_device(fd, "lo") == -ENODEV);
      const int changed = type == SOCK_STREAM ? -ENOPROTOOPT : 0;
      CHECK(use_device(fd, "wire4") == changed && use_device(fd, "") == changed);
      CHECK(device_of(fd) == (changed ? "wire3" : ""));

      const int theirs = socket(AF_INET, type, 0);
      const bool binds_first = is_bound_first && type == SOCK_STREAM;
      if (binds_first) CHECK(bind_to(theirs, "0.0.0.0", 0) == 0);
      CHECK(use_device(theirs, "lo") == 0 && device_of(theirs) == "lo");
      if (!binds_first) CHECK(bind_to(theirs, "0.0.0.0", 0) == 0);
      if (type == SOCK_STREAM) CHECK(listen(theirs, 1) == 0);
      CHECK(is_kernels(theirs) && port_of(theirs) != 0 && device_of(theirs) == "lo");
    }
}

// What a session does not have is refused before and after, unless nobody misses it.
void options_refused() {
  sock_filter accept_all{BPF_RET | BPF_K, 0, 0, 0xffff};
  const sock_fprog program{1, &accept_all};
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    const int fd = socket(AF_INET6, type, 0);
    for (int round = 0; round < 2; ++round) {
      CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == -1);
      CHECK(errno == ENOPROTOOPT);
      CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == -1);
      CHECK(errno == ENOPROTOOPT);
      for (const auto& [level, name] :
           {std::pair(IPPROTO_IP, IP_MINTTL), std::pair(IPPROTO_IPV6, kMinHops),
            std::pair(IPPROTO_IPV6, k2292Pktinfo), std::pair(IPPROTO_IPV6, IPV6_RECVPATHMTU)})
        CHECK(set(fd, level, name, 1) == -ENOPROTOOPT && set(fd, level, name, 0) == 0);
      CHECK(set(fd, SOL_SOCKET, SO_PRIORITY, 5) == 0 && set(fd, SOL_SOCKET, SO_NO_CHECK, 1) == 0);
      CHECK(set(fd, IPPROTO_IP, IP_TTL, 9) == 0 && option(fd, IPPROTO_IP, IP_TTL) == 9);
      CHECK(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 11) == 0);
      CHECK(option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 11);
      CHECK(set(fd, IPPROTO_IP, IP_TTL, 0) == -EINVAL && option(fd, IPPROTO_IP, IP_TTL) == 9);
      CHECK(set(fd, IPPROTO_IPV6, IPV6_MTU, 1280) == 0);  // as name servers do
      if (round == 0) {
        sockaddr_in6 any{};
        any.sin6_family = AF_INET6;
        any.sin6_port = htons(99);
        CHECK(bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0);
        if (type == SOCK_STREAM) CHECK(listen(fd, 1) == 0);
        CHECK(!is_kernels(fd));
      }
    }
  }
}

constexpr Scenario kScenarios[] = {
    {"options_refused", options_refused},
    {"devices", devices},
};

}  // namespace

std::span<const Scenario> option_scenarios() { return kScenarios; }

}  // namespace loom::probe
