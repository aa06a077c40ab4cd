// fcntl and ioctl. Descriptor flags are the kernel's on the real descriptor; the status flag
// O_NONBLOCK is the session's.
#include <linux/sockios.h>

#include <cstdarg>

#include "ldp/arrival.h"
#include "ldp/dup.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace {

int control_file(int fd, int command, void* argument) {
  const auto value = reinterpret_cast<intptr_t>(argument);
  if (fds.raw(fd) == ObjectTable::kNone) [[likely]]
    return libc().fcntl(fd, command, argument);
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
      const int copy = libc().fcntl(fd, command, argument);
      if (copy >= 0 && same_process()) enter_copy(fd, copy);
      return copy;
    }
    case F_GETFL:
      if (const auto s = session_at(fd)) return O_RDWR | (s->nonblocking() ? O_NONBLOCK : 0);
      break;
    case F_SETFL:
      if (const auto s = session_at(fd)) {
        s->set_nonblocking(value & O_NONBLOCK);
        return 0;
      }
      break;
  }
  return libc().fcntl(fd, command, argument);
}

int control_session(Session& s, unsigned long request, void* argument) {
  auto* number = static_cast<int*>(argument);
  if (s.is_datagram() && is_stamp_request(request)) return give_last_arrival(s, request, argument);
  switch (request) {
    case FIONREAD:
    case SIOCOUTQ:
    case SIOCATMARK:
    case FIONBIO:
      if (!number) return -EFAULT;
      break;
    default:
      return -ENOTTY;
  }
  switch (request) {
    case FIONREAD:
      if (s.is_listener()) return -EINVAL;
      *number = static_cast<int>(s.unread());
      return 0;
    case SIOCOUTQ:
      *number = static_cast<int>(s.unsent());
      return 0;
    case SIOCATMARK:
      *number = 0;
      return 0;
    default:
      s.set_nonblocking(*number != 0);
      return 0;
  }
}

}  // namespace

extern "C" {

int fcntl(int fd, int command, ...) {
  va_list args;
  va_start(args, command);
  void* argument = va_arg(args, void*);
  va_end(args);
  return control_file(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
  va_list args;
  va_start(args, command);
  void* argument = va_arg(args, void*);
  va_end(args);
  return control_file(fd, command, argument);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list args;
  va_start(args, request);
  void* argument = va_arg(args, void*);
  va_end(args);
  const Errno keep;
  const auto s = session_at(fd);
  if (!s || request == FIOCLEX || request == FIONCLEX) return libc().ioctl(fd, request, argument);
  return keep.status(control_session(*s, request, argument));
}

}  // extern "C"
