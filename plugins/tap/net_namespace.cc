#include "net_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

namespace loom::tap {
namespace {

Result<std::string> path_of(const std::string& where) {
  if (where.starts_with('/')) return where;
  if (where.find('/') != where.npos || where == "." || where == "..")
    return error(Status::kInvalid,
                 "namespace '" + where + "' is neither a name in /run/netns nor an absolute path");
  return "/run/netns/" + where;
}

Error entering_failed(const std::string& where, int err) {
  if (err == EPERM)
    return error(Status::kPermission,
                 "namespace '" + where + "' may not be entered: CAP_SYS_ADMIN is missing");
  if (err == EINVAL) return error(Status::kInvalid, "'" + where + "' is not a network namespace");
  return error(Status::kIo, "namespace '" + where + "': " + std::strerror(err));
}

}  // namespace

Result<void> run_in_net_namespace(const std::string& where,
                                  const std::function<Result<void>()>& fn) {
  if (where.empty()) return fn();
  const auto path = path_of(where);
  if (!path) return path.error();
  const int fd = open(path->c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
    return error(Status::kNotFound, "namespace '" + where + "' is not there (" + *path + ")");
  if (fd < 0) return entering_failed(where, errno);
  Result<void> result;
  try {
    std::thread([&] {
      if (setns(fd, CLONE_NEWNET) != 0)
        result = entering_failed(where, errno);
      else
        result = fn();
    }).join();
  } catch (const std::system_error& e) {
    result = error(Status::kNoMemory, std::string("no thread to enter a namespace: ") + e.what());
  }
  close(fd);
  return result;
}

}  // namespace loom::tap
