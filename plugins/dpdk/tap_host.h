// The kernel's end of a net_tap. Whoever has the other network namespaces may take it into one, or
// give it another name; packets go on. Its driver looks for it by the name that it once had, and
// takes it for down, and for nothing that can be started.
#pragma once
#include <hostloom/status.h>

#include <string>

namespace loom::dpdk {

enum class HostEnd {
  kHere,       // as the driver knows it
  kElsewhere,  // in another namespace, or by another name
  kGone,
};

// Control thread.
class TapHost {
 public:
  // Looks for a descriptor of the driver's that is a queue of that interface: once the driver has
  // set its queues up, and again whenever it has.
  void find(unsigned if_index);
  bool is_known() const noexcept { return fd_ >= 0; }
  HostEnd where(unsigned if_index) const noexcept;
  bool is_up() const noexcept;  // wherever it is

 private:
  std::string name_;  // the driver's for it
  int fd_ = -1;       // the driver's, open until it sets its queues up again, or is closed
};

// For as long as it lives, what the driver asks its kernel's end on this thread for is answered
// here, if that is elsewhere: that it is up, and that it has been told.
class WithoutHost {
 public:
  explicit WithoutHost(bool is_elsewhere) noexcept;
  ~WithoutHost();
  WithoutHost(const WithoutHost&) = delete;

 private:
  const bool before_;
};

// Before such a device is closed, started or stopped while its end is elsewhere; later calls find
// it done. Control thread. Errors: of redirect_imports.
Result<void> guard_tap();

}  // namespace loom::dpdk
