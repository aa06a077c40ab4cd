#include "peer_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <hostloom/unique_fd.h>

namespace loom::dpdk {
namespace {

// The value of the last such key; devargs are KEY=VALUE,...
std::string value_of(const std::string& devargs, const std::string& key) {
  const std::string all = "," + devargs + ",";
  const std::size_t at = all.rfind("," + key + "=");
  if (at == std::string::npos) return "";
  const std::size_t begin = at + key.size() + 2;
  return all.substr(begin, all.find(',', begin) - begin);
}

// By getsockname or getpeername: whether the socket's name is that path.
bool is_named(int fd, int (*name_of)(int, sockaddr*, socklen_t*), const std::string& path) {
  sockaddr_un name{};
  socklen_t size = sizeof name;
  if (name_of(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) return false;
  if (name.sun_family != AF_UNIX || size <= offsetof(sockaddr_un, sun_path)) return false;
  return std::string_view(name.sun_path, ::strnlen(name.sun_path, sizeof name.sun_path)) == path;
}

}  // namespace

PeerSocket peer_socket_of(const DeviceConfig& c) {
  const auto begins = [&](std::string_view with) { return c.address.rfind(with, 0) == 0; };
  if (!c.is_virtual || !(begins("net_virtio_user") || begins("virtio_user"))) return {};
  PeerSocket peer{.path = value_of(c.devargs, "path"), .is_ours = false};
  struct stat s {};
  if (::stat(peer.path.c_str(), &s) == 0 && S_ISCHR(s.st_mode)) return {};  // vhost-net, vDPA
  peer.is_ours = std::strtoull(value_of(c.devargs, "server").c_str(), nullptr, 0) != 0;
  return peer;
}

std::string as_client(const std::string& devargs) {
  std::string out;
  for (const std::string& one : arguments_of(devargs))
    if (one.rfind("server=", 0) != 0) out += (out.empty() ? "" : ",") + one;
  return out;
}

uint32_t hang_up(const std::string& path) {
  uint32_t n = 0;
  DIR* all = path.empty() ? nullptr : ::opendir("/proc/self/fd");
  if (!all) return 0;
  while (const dirent* entry = ::readdir(all)) {
    // One of our own for what is to be shut: theirs may be closed, and be something else, at any
    // time.
    const UniqueFd fd(::fcntl(std::atoi(entry->d_name), F_DUPFD_CLOEXEC, 3));
    if (!fd || entry->d_name[0] == '.') continue;
    if (!is_named(fd.get(), ::getpeername, path) && !is_named(fd.get(), ::getsockname, path))
      continue;
    if (::shutdown(fd.get(), SHUT_RDWR) == 0) ++n;
  }
  ::closedir(all);
  return n;
}

// A socket of another type is refused by its type where there is one, and otherwise by nobody.
bool is_bound(const std::string& path) {
  sockaddr_un name{};
  if (path.empty() || path.size() >= sizeof name.sun_path) return false;
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe && ::connect(probe.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 &&
         errno == EPROTOTYPE;
}

}  // namespace loom::dpdk
