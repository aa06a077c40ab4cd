// setsockopt and getsockopt. On a candidate the kernel's answer counts, and what it was asked is
// kept for the session that the socket may become.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "ldp/candidate.h"
#include "ldp/device.h"
#include "ldp/fd_table.h"
#include "ldp/group_filter.h"
#include "ldp/group_options.h"
#include "ldp/libc.h"
#include "ldp/option_rules.h"
#include "ldp/options.h"
#include "ldp/process.h"
#include "vcl/app_worker.h"

using namespace loom;
using namespace loom::ldp;

namespace {

// Of an interface that the kernel has not. 0 or a negative errno.
int ask_hostloom(int level, const void* value, socklen_t len, int kernels) {
  if (find_home() != Home::kHostloom) return kernels;
  return find_group_interface(*worker(), level, value, len) == 0 ? 0 : kernels;
}

}  // namespace

extern "C" {

int setsockopt(int fd, int level, int name, const void* value, socklen_t len) noexcept {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.status(set_option(*s, level, name, value, len));
  if (is_candidate(fd)) {
    if (is_device_option(level, name))
      return keep.status(set_candidate_device(fd, name, value, len));
    if (is_refused(candidate_is_datagram(fd), level, name, value, len) &&
        find_home() == Home::kHostloom)
      return keep.status(-ENOPROTOOPT);
  }
  int outcome = libc().setsockopt(fd, level, name, value, len) == 0 ? 0 : -errno;
  if (is_candidate(fd)) {
    // The kernel need not have the algorithms that Hostloom has.
    if (outcome == -ENOENT && level == IPPROTO_TCP && name == TCP_CONGESTION) outcome = 0;
    // Nor the interfaces. What is wrong with the call itself stays wrong.
    const bool is_networks = outcome == -ENODEV || outcome == -EADDRNOTAVAIL ||
                             outcome == -EADDRINUSE || outcome == -ENOBUFS;
    const bool is_filter = outcome == -ENODEV && is_group_filter(level, name);
    if ((is_filter || (is_networks && is_group_option(level, name))) && candidate_is_datagram(fd))
      outcome = is_group_interface(level, name) ? ask_hostloom(level, value, len, outcome) : 0;
    if (outcome == 0) note_option(fd, level, name, value, len);
  }
  return keep.status(outcome);
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* len) noexcept {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.status(get_option(*s, level, name, value, len));
  if (is_candidate(fd) && is_device_option(level, name))
    if (const int e = get_candidate_device(fd, name, value, len); e <= 0) return keep.status(e);
  return libc().getsockopt(fd, level, name, value, len);
}

}  // extern "C"
