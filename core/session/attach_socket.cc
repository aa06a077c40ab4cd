// The sockets that applications attach over, one a namespace: where they are, who may write to
// them, and when they are open. Control thread.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>

#include "session/impl.h"

namespace loom::session {
namespace {

bool is_abstract(const std::string& name) { return name.starts_with('@'); }

std::string folder_of(const Impl& layer) {
  return (std::filesystem::path(layer.config.runtime_dir) / "app_ns_sockets").string();
}

struct Address {
  sockaddr_un un{};
  socklen_t size = 0;
};
Result<Address> address_of(const std::string& name) {
  Address a;
  a.un.sun_family = AF_UNIX;
  // An abstract name is as long as the address says, and ends with no zero.
  const std::size_t most = sizeof a.un.sun_path - !is_abstract(name);
  if (name.size() > most)
    return error(Status::kInvalid, "attach socket path '" + name + "' is longer than " +
                                       std::to_string(most) +
                                       " bytes; choose a shorter runtime-dir or sock-name");
  std::memcpy(a.un.sun_path, name.data(), name.size());
  if (is_abstract(name)) a.un.sun_path[0] = 0;
  a.size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + !is_abstract(name));
  return a;
}

// Takes a leftover away. In our own folder there are only those of daemons that have gone; what an
// operator named may be anything, and may be in use.
Result<void> clear_way(const Impl& layer, const std::string& name, const Address& address) {
  struct stat s {};
  if (::lstat(name.c_str(), &s) != 0) return {};
  if (!S_ISSOCK(s.st_mode)) return error(Status::kIo, name + " is there and is not a socket");
  if (std::filesystem::path(name).parent_path() != folder_of(layer)) {
    const UniqueFd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address.un), address.size) == 0 ||
        errno != ECONNREFUSED)
      return error(Status::kInUse, name + " is somebody else's socket");
  }
  ::unlink(name.c_str());
  return {};
}

}  // namespace

Result<std::string> resolve_socket_name(const Impl& layer, const NamespaceArgs& args) {
  std::string name = args.socket_name.empty() ? args.id : args.socket_name;
  if (name.find(",netns_name=") != name.npos)
    return error(Status::kUnsupported,
                 "'" + name + "': a socket in another network namespace is not supported");
  constexpr std::string_view kAbstract = "abstract:";
  if (name.starts_with(kAbstract)) name = "@" + name.substr(kAbstract.size());
  if (name.find('\0') != name.npos || name == "@")
    return error(Status::kInvalid, "'" + name + "' is not a socket's name");
  if (!is_abstract(name) && !name.starts_with('/')) {
    if (name.find('/') != name.npos || name == "." || name == "..")
      return error(Status::kInvalid,
                   "'" + name + "' is neither an absolute path nor a name in " + folder_of(layer));
    name = folder_of(layer) + "/" + name;
  }
  if (!is_abstract(name) && std::filesystem::path(name).lexically_normal() != name)
    return error(Status::kInvalid, "'" + name + "': say it without '.', '..' and double '/'");
  if (const auto address = address_of(name); !address) return address.error();
  return name;
}

namespace {

// The socket's file, when it is still the one that was bound: whoever may write to its folder may
// have put another thing there, or a link. None otherwise.
UniqueFd file_of(const AttachSocket& socket) {
  UniqueFd file(::open(socket.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat s {};
  const bool is_it = file && ::fstat(file.get(), &s) == 0 && S_ISSOCK(s.st_mode) &&
                     s.st_dev == socket.device && s.st_ino == socket.inode;
  return is_it ? std::move(file) : UniqueFd();
}

void remove_file(const AttachSocket& socket) {
  if (!is_abstract(socket.name) && file_of(socket)) ::unlink(socket.name.c_str());
}

}  // namespace

Result<void> apply_access(const AttachSocket& socket, const NamespaceAccess& access) {
  if (is_abstract(socket.name)) return {};  // has no file; admit() looks at the peer
  const UniqueFd file = file_of(socket);
  if (!file) return error(Status::kIo, socket.name + " is not the socket that was made there");
  const std::string by_fd = "/proc/self/fd/" + std::to_string(file.get());
  // The mode last: until then nobody else may write.
  if (::chmod(by_fd.c_str(), 0) != 0 ||
      ::fchownat(file.get(), "", access.uid, access.gid, AT_EMPTY_PATH) != 0 ||
      ::chmod(by_fd.c_str(), access.mode) != 0)
    return error(errno == EPERM ? Status::kPermission : Status::kIo,
                 socket.name + ": " + std::strerror(errno));
  return {};
}

Result<void> open_socket(Impl& layer, Namespace& ns) {
  AttachSocket& socket = ns.socket;
  const auto failed = [&](const std::string& what) {
    return error(Status::kIo, what + " '" + socket.name + "': " + std::strerror(errno));
  };
  const auto address = address_of(socket.name);
  if (!address) return address.error();
  std::error_code ec;
  std::filesystem::create_directories(folder_of(layer), ec);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failed("attach socket");
  if (!is_abstract(socket.name))
    if (auto cleared = clear_way(layer, socket.name, *address); !cleared) return cleared;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address->un), address->size) != 0)
    return failed("attach socket");
  struct stat s {};
  if (!is_abstract(socket.name) && ::lstat(socket.name.c_str(), &s) == 0) {
    socket.device = s.st_dev;
    socket.inode = s.st_ino;
  }
  auto done = apply_access(socket, ns.access);
  if (done && ::listen(fd.get(), 128) != 0) done = failed("attach socket");
  if (!done) {
    remove_file(socket);
    return done;
  }
  socket.fd = std::move(fd);
  watch_socket(layer, ns);
  return {};
}

void watch_socket(Impl& layer, Namespace& ns) {
  ns.socket.watch =
      layer.loop.watch_fd(ns.socket.fd.get(), [&layer, &ns] { on_connection(layer, ns); });
}

void close_socket(Impl& layer, Namespace& ns) {
  if (!ns.socket.fd) return;
  if (ns.socket.watch != 0) layer.loop.unwatch_fd(std::exchange(ns.socket.watch, 0));
  ns.socket.fd = UniqueFd();
  remove_file(ns.socket);
}

Result<void> open_attach_sockets(Impl& layer) {
  Namespace& first = *layer.namespaces.front();
  const auto name = resolve_socket_name(layer, {.id = first.id});
  if (!name) return name.error();
  first.socket.name = *name;
  for (const auto& ns : layer.namespaces) {
    if (!ns || ns->socket.fd) continue;
    auto opened = open_socket(layer, *ns);
    if (!opened && ns->is_default()) return opened;
    if (!opened)
      layer.log(LogLevel::kError,
                "nobody can attach by namespace '" + ns->id + "': " + opened.error().message);
  }
  return {};
}

void close_attach_sockets(Impl& layer) {
  for (const auto& ns : layer.namespaces)
    if (ns) close_socket(layer, *ns);
}

}  // namespace loom::session
