// accept, accept4. The descriptor is reserved first, so that no connection is lost for want of one.
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/names.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace {

int accept_session(Session& listener, sockaddr* addr, socklen_t* len, int flags) {
  if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) return -EINVAL;
  if (listener.nonblocking() && listener.poll(POLLIN | vcl::kPollOnlyLook, false) == 0) return -EAGAIN;
  const int fd = static_cast<int>(
      syscall(SYS_eventfd2, 0, EFD_NONBLOCK | (flags & SOCK_CLOEXEC ? EFD_CLOEXEC : 0)));
  if (fd < 0) return -errno;
  struct Reserved {
    int fd;
    ~Reserved() {
      if (fd >= 0) vcl::sys::close(fd);
    }
  } reserved{fd};  // also when the thread is cancelled in its wait
  Session* child = nullptr;
  if (const int e = listener.accept(child, flags & SOCK_NONBLOCK); e != 0) return e;
  if (addr && len)
    give_name(child->remote(), child->socket_is_ip4, addr, len, child->options().interface);
  if (!enter(fd, child)) {
    child->unref();
    return -ENOMEM;
  }
  reserved.fd = -1;
  return fd;
}

}  // namespace

extern "C" {

int accept4(int fd, sockaddr* addr, socklen_t* len, int flags) {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.status(accept_session(*s, addr, len, flags));
  return libc().accept4(fd, addr, len, flags);
}

int accept(int fd, sockaddr* addr, socklen_t* len) {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.status(accept_session(*s, addr, len, 0));
  return libc().accept(fd, addr, len);
}

}  // extern "C"
