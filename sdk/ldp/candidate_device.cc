// SO_BINDTODEVICE and SO_BINDTOIFINDEX of sockets of which nobody knows yet whose they are.
#include <cerrno>

#include "ldp/candidate.h"
#include "ldp/device.h"
#include "ldp/libc.h"
#include "ldp/process.h"
#include "vcl/app_worker.h"

namespace loom::ldp {

int set_candidate_device(int fd, int option, const void* value, socklen_t len) {
  const auto in_kernel = [&] {
    return libc().setsockopt(fd, SOL_SOCKET, option, value, len) == 0 ? 0 : -errno;
  };
  Device wanted;
  if (read_device(option, value, len, wanted) != 0) return in_kernel();
  if (wanted.is_any()) {
    const bool had = !device_of(fd).is_any();
    note_device(fd, {});
    return had ? 0 : in_kernel();
  }
  Device d;
  if (find_home() == Home::kHostloom &&
      find_device(*worker(), candidate_is_ip4(fd), wanted, d) == 0) {
    note_device(fd, d);
    return 0;
  }
  const int outcome = in_kernel();
  if (outcome != 0) return outcome;
  note_device(fd, {});
  return become_kernel(fd);
}

int get_candidate_device(int fd, int option, void* value, socklen_t* len) {
  const Device d = device_of(fd);
  return d.is_any() ? 1 : give_device(option, d, value, len);
}

}  // namespace loom::ldp
