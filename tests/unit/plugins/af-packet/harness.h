// What these tests stand on beside the harness of drivers: veths in a private network namespace,
// and a packet socket on the far end that sends and receives frames with any virtio-net header.
#pragma once
#include <hostloom/virtio_net.h>
#include <hostloom/wire.h>

#include "driver_harness.h"
#include "host_interfaces.h"

namespace loom::af_packet {

class Harness : public DriverHarness {
 public:
  explicit Harness(uint32_t n_buffers = 16384, uint32_t data_size = kDefaultDataSize);
  ~Harness();

  // `create host-interface name near WORDS`, taken up.
  Device& made(const std::string& words = "");
  // Calls the driver's rx once, and has its packets reach the sink.
  uint32_t rx(Device& d, uint16_t queue = 0);
  // Waits (bounded) until that many of the test's own frames are in the sink; what the kernel sends
  // by itself is left out.
  bool wait_for(Device& d, std::size_t n);
  std::vector<const Buffer*> own() const;
  // A device whose only queue is `fd`, which it closes, for packets that no kernel would send. Its
  // ring is the test's to fill.
  std::unique_ptr<Device> device_on(int fd);
  std::byte* ring_memory = nullptr;  // of the device on an fd
  Device* device() { return static_cast<Device*>(interface.device); }

  std::unique_ptr<HostInterfaces> all;
};

void ip(const std::string& words);  // the program
// near, which is the driver's, and far, which is up.
void make_veth();
void delete_veth();

// The far end, or somebody else on ours.
class Far {
 public:
  explicit Far(const char* name = "far");
  ~Far();
  void send(const std::string& frame, VnetHeader h = {});
  // The next of the test's frames within two seconds, and its header.
  std::string next();
  VnetHeader header;

 private:
  UniqueFd fd_;
};

// A frame that next() and own() take for the test's; VLAN 0: no tag.
std::string frame(std::size_t payload, uint16_t vlan = 0);
// A large TCP packet, checksum left out, and the header that says so.
std::string tcp_frame(std::size_t payload);
VnetHeader gso();

}  // namespace loom::af_packet
