// What the tap tests stand on beside the harness of drivers: TAPs, and private namespaces for their
// other ends.
#pragma once
#include <hostloom/virtio_net.h>
#include <hostloom/wire.h>

#include "device.h"
#include "driver_harness.h"
#include "taps.h"

namespace loom::tap {

class Harness : public DriverHarness {
 public:
  explicit Harness(uint32_t n_buffers = 16384, uint32_t data_size = kDefaultDataSize);
  ~Harness();

  // Calls the driver's rx once, and has its packets reach the sink.
  uint32_t rx(Device& d, uint16_t queue = 0);
  // Waits (bounded) until the TAP has packets and collects them.
  bool rx_wait(Device& d);

  // A device whose only queue is `fd`, for packets that no kernel would send. Closes fd.
  std::unique_ptr<Device> device_on(int fd);

  std::unique_ptr<Taps> taps;
  Device* device() { return static_cast<Device*>(interface.device); }
};

// A network namespace that lives as long as this; `path` names it.
class PrivateNamespace {
 public:
  PrivateNamespace();
  ~PrivateNamespace();
  const std::string& path() const { return path_; }
  void run(const std::function<void()>& fn);  // inside it

 private:
  std::string path_;
};

// loom::enter_private_network. Empty, or why real TAPs cannot be tested here.
std::string enter_private_network();

}  // namespace loom::tap
