// read, readv, recv, recvfrom, recvmsg, recvmmsg.
#include "ldp/receive.h"

#include <limits.h>

#include <algorithm>

#include "ldp/datagrams.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace loom::ldp {

ssize_t receive(Session& s, std::span<const iovec> to, int flags) {
  if ((flags & MSG_OOB) && !s.is_datagram()) [[unlikely]]
    return -EINVAL;
  if (flags & MSG_ERRQUEUE) [[unlikely]] {
    if (vcl::DatagramIn in; s.is_datagram()) return s.receive_error(to, in);
    return -EAGAIN;  // a stream has no such data, ever
  }
  return s.receive(to, flags);
}

ssize_t receive(Session& s, void* p, size_t n, int flags) {
  const iovec v{p, n};
  return receive(s, {&v, 1}, flags);
}

}  // namespace loom::ldp

namespace {

// A read() of no bytes takes no datagram; a recv() does.
ssize_t read_into(Session& s, std::span<const iovec> to) {
  const auto is_empty = [](const iovec& v) { return v.iov_len == 0; };
  if (s.is_datagram() && std::all_of(to.begin(), to.end(), is_empty)) return 0;
  return receive(s, to, 0);
}

ssize_t receive_datagram_message(Session& s, msghdr& m, int flags) {
  if (flags & MSG_ERRQUEUE) return receive_datagram_error(s, m);
  return receive_datagram(s, m, flags);  // MSG_OOB means nothing here
}

ssize_t receive_message(Session& s, msghdr* m, int flags) {
  if (!m) return -EFAULT;
  if (s.is_datagram()) return receive_datagram_message(s, *m, flags);
  if (m->msg_iovlen > IOV_MAX) return -EMSGSIZE;
  const ssize_t n = receive(s, {m->msg_iov, m->msg_iovlen}, flags);
  if (n < 0) return n;
  m->msg_namelen = 0;
  m->msg_controllen = 0;
  m->msg_flags = 0;
  return n;
}

// How many of the messages were received with one lock, at least one; or a negative errno.
int receive_some(Session& s, mmsghdr* messages, unsigned n, int flags) {
  if (s.is_datagram() && !(flags & MSG_ERRQUEUE)) return receive_datagrams(s, messages, n, flags);
  const ssize_t got = receive_message(s, &messages->msg_hdr, flags);
  if (got < 0) return static_cast<int>(got);
  messages->msg_len = static_cast<unsigned>(got);
  return 1;
}

// The time for the whole call is looked at between messages, as the kernel does; between those that
// are there at once only when it is over.
int receive_messages(Session& s, mmsghdr* messages, unsigned n, int flags,
                     const timespec* timeout) {
  if (n != 0 && !messages) return -EFAULT;
  const TimeNs deadline = timeout
                              ? vcl::sys::deadline_in(timeout->tv_sec * kSecond + timeout->tv_nsec)
                              : vcl::sys::kForever;
  const auto is_over = [&] { return timeout && vcl::sys::now() >= deadline; };
  const bool waits_once =
      (flags & (MSG_DONTWAIT | MSG_WAITFORONE)) || (s.is_datagram() && s.nonblocking());
  unsigned done = 0;
  // An error of earlier datagrams is the next call's to tell.
  while (done < n && !(done != 0 && s.is_datagram() && s.has_error())) {
    const int later = done != 0 && waits_once ? MSG_DONTWAIT : 0;
    const unsigned asked = is_over() ? 1 : std::min(n - done, kMostTogether);
    const int got = receive_some(s, messages + done, asked, (flags & ~MSG_WAITFORONE) | later);
    if (got < 0 && done != 0) {  // an error that came while this call slept is the next one's, too
      if (s.is_datagram() && got != -EAGAIN && got != -EINTR) s.put_back_error(-got);
      return static_cast<int>(done);
    }
    if (got < 0) return got;
    done += static_cast<unsigned>(got);
    const bool is_end = messages[done - 1].msg_len == 0 && !s.is_datagram();
    const bool is_all = s.is_datagram() && waits_once && static_cast<unsigned>(got) < asked;
    if (is_end || is_all || is_over()) break;
  }
  return static_cast<int>(done);
}

}  // namespace

extern "C" {

ssize_t read(int fd, void* p, size_t n) {
  const Errno keep;
  if (const auto s = session_at(fd)) {
    const iovec v{p, n};
    return keep.result(read_into(*s, {&v, 1}));
  }
  return libc().read(fd, p, n);
}

ssize_t readv(int fd, const iovec* v, int n) {
  const Errno keep;
  const auto s = session_at(fd);
  if (!s) return libc().readv(fd, v, n);
  if (n < 0 || n > IOV_MAX) return keep.result(-EINVAL);
  return keep.result(read_into(*s, {v, static_cast<size_t>(n)}));
}

ssize_t recv(int fd, void* p, size_t n, int flags) {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.result(receive(*s, p, n, flags));
  return libc().recv(fd, p, n, flags);
}

ssize_t recvfrom(int fd, void* p, size_t n, int flags, sockaddr* addr, socklen_t* len) {
  const Errno keep;
  const auto s = session_at(fd);
  if (!s) return libc().recvfrom(fd, p, n, flags, addr, len);
  if (s->is_datagram()) {
    if (addr && !len) return keep.result(-EFAULT);
    iovec v{p, n};
    msghdr m{};
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_name = addr;
    m.msg_namelen = addr ? *len : 0;
    const ssize_t got = receive_datagram_message(*s, m, flags);
    if (got >= 0 && addr) *len = m.msg_namelen;
    return keep.result(got);
  }
  const ssize_t got = receive(*s, p, n, flags);
  if (got >= 0 && addr && len) *len = 0;  // a stream gives no address
  return keep.result(got);
}

ssize_t recvmsg(int fd, msghdr* m, int flags) {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.result(receive_message(*s, m, flags));
  return libc().recvmsg(fd, m, flags);
}

int recvmmsg(int fd, mmsghdr* messages, unsigned n, int flags, timespec* timeout) {
  const Errno keep;
  if (const auto s = session_at(fd))
    return keep.status(receive_messages(*s, messages, n, flags, timeout));
  return libc().recvmmsg(fd, messages, n, flags, timeout);
}

}  // extern "C"
