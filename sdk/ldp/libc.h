// The functions of libc that this library stands in front of, found with dlsym(RTLD_NEXT).
//
// Threads: any, from the first instruction of the process on: another library's constructor may
// come here before ours has run. Resolving twice at once writes the same values twice.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace loom::ldp {

#define LOOM_LIBC_FUNCTIONS(X)                                                                     \
  X(socket)                                                                                        \
  X(bind)                                                                                          \
  X(listen)                                                                                        \
  X(accept) X(accept4) X(connect) X(shutdown) X(close) X(getsockname) X(getpeername) X(getsockopt) \
      X(setsockopt) X(fcntl) X(ioctl) X(dup) X(dup2) X(dup3) X(read) X(readv) X(pread) X(preadv)   \
          X(write) X(writev) X(pwrite) X(pwritev) X(lseek) X(send) X(sendto) X(sendmsg)            \
              X(sendmmsg) X(sendfile) X(splice) X(tee) X(recv) X(recvfrom) X(recvmsg) X(recvmmsg)  \
                  X(select) X(pselect) X(poll) X(ppoll) X(epoll_create) X(epoll_create1)           \
                      X(epoll_ctl) X(epoll_wait) X(epoll_pwait) X(fdopen) X(fileno)                \
                          X(fileno_unlocked)

struct Libc {
#define LOOM_LIBC_POINTER(name) decltype(&::name) name;
  LOOM_LIBC_FUNCTIONS(LOOM_LIBC_POINTER)
#undef LOOM_LIBC_POINTER
};

extern std::atomic<bool> libc_resolved;
extern Libc libc_table;
void resolve_libc() noexcept;

inline const Libc& libc() noexcept {
  if (!libc_resolved.load(std::memory_order_acquire)) [[unlikely]]
    resolve_libc();
  return libc_table;
}

}  // namespace loom::ldp
