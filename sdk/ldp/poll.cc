#include "ldp/poll.h"

#include <vector>

#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"
#include "vcl/multi_wait.h"

using namespace loom;
using namespace loom::ldp;

namespace loom::ldp {
namespace {

// One call's working space; kept for the thread's next one, so that waiting does not allocate.
// A handler that interrupts the wait may poll too, and gets a space of its own.
struct Space {
  std::vector<vcl::WaitEntry> entries;
  std::vector<nfds_t> entry_origin;
  std::vector<pollfd> kernel;
  std::vector<nfds_t> kernel_origin;

  void clear() noexcept {
    entries.clear();
    entry_origin.clear();
    kernel.clear();
    kernel_origin.clear();
  }
};

class Borrowed {
 public:
  Borrowed() : space_(busy_ ? *new Space : kept_), outer_(std::exchange(busy_, true)) {}
  ~Borrowed() {
    for (const vcl::WaitEntry& e : space_.entries) e.object->unref();
    space_.clear();
    if (outer_)
      delete &space_;
    else
      busy_ = false;
  }
  Space& operator*() noexcept { return space_; }

 private:
  static thread_local Space kept_;
  static thread_local bool busy_;
  Space& space_;
  const bool outer_;
};
thread_local Space Borrowed::kept_;
thread_local bool Borrowed::busy_ = false;

}  // namespace

bool any_object(pollfd* p, nfds_t n) noexcept {
  for (nfds_t i = 0; i < n; ++i)
    if (fds.holds_object(p[i].fd)) return true;
  return false;
}

int poll_mixed(pollfd* p, nfds_t n, TimeNs timeout, const sigset_t* mask) {
  Borrowed borrowed;
  Space& space = *borrowed;
  for (nfds_t i = 0; i < n; ++i) {
    p[i].revents = 0;
    Held<Object> o = fds.get(p[i].fd);
    const bool is_session = o && o->kind() == Object::Kind::kSession;
    if (!is_session) {
      // The kernel's; and the kernel's side of an epoll set, which wakes us for what is there.
      space.kernel.push_back({p[i].fd, p[i].events, 0});
      space.kernel_origin.push_back(i);
    }
    if (!o) continue;
    space.entries.push_back({o.get(), static_cast<uint16_t>(p[i].events), 0});
    space.entry_origin.push_back(i);
    o.release();
  }
  const nfds_t n_kernel = space.kernel.size();
  space.kernel.push_back({});  // room for the wait's own
  const int outcome =
      vcl::wait_many(*worker(), space.entries, space.kernel.data(), n_kernel, timeout, mask);
  if (outcome < 0) return outcome;
  for (size_t i = 0; i < space.entries.size(); ++i)
    p[space.entry_origin[i]].revents |= static_cast<short>(space.entries[i].ready);
  for (nfds_t i = 0; i < n_kernel; ++i)
    p[space.kernel_origin[i]].revents |= space.kernel[i].revents;
  int ready = 0;
  for (nfds_t i = 0; i < n; ++i) ready += p[i].revents != 0;
  return ready;
}

}  // namespace loom::ldp

extern "C" {

int poll(pollfd* p, nfds_t n, int timeout_ms) {
  if (!any_object(p, n)) return libc().poll(p, n, timeout_ms);
  const Errno keep;
  return keep.status(
      poll_mixed(p, n, timeout_ms < 0 ? -1 : TimeNs{timeout_ms} * kMillisecond, nullptr));
}

int ppoll(pollfd* p, nfds_t n, const timespec* timeout, const sigset_t* mask) {
  if (!any_object(p, n)) return libc().ppoll(p, n, timeout, mask);
  const Errno keep;
  TimeNs ns = -1;
  if (timeout) {
    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= kSecond)
      return keep.status(-EINVAL);
    constexpr time_t kCentury = 3'200'000'000;
    ns = timeout->tv_sec > kCentury ? -1 : timeout->tv_sec * kSecond + timeout->tv_nsec;
  }
  return keep.status(poll_mixed(p, n, ns, mask));
}

}  // extern "C"
