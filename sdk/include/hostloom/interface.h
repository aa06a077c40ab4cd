// Network interfaces and the contract of a NIC driver. The registry is core/net/interface/.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <hostloom/address.h>
#include <hostloom/node.h>
#include <hostloom/status.h>

namespace loom {

struct Worker;
class CliReply;

using IfIndex = uint32_t;

// What the device does itself. What it lacks, the graph finishes in software before the driver sees
// the packet.
enum InterfaceCaps : uint32_t {
  kCapTxIp4Checksum = 1u << 0,
  kCapTxL4Checksum = 1u << 1,
  kCapTso4 = 1u << 2,
  kCapTso6 = 1u << 3,
  kCapScatter = 1u << 4,  // sends chains; without it packets arrive in one segment
};

enum class RxMode : uint8_t { kAdaptive, kPolling, kInterrupt };

// Called on the control thread, but for tx.
struct DriverOps {
  uint32_t struct_size = sizeof(DriverOps);
  const char* name = nullptr;  // "tap"
  // Sends packets of one queue, in order; takes ownership of the first n that it returns. The rest
  // stays with the caller, which drops and counts them. On a worker; `queue` belongs to it.
  uint32_t (*tx)(Worker&, void* device, uint16_t queue,
                 std::span<Buffer* const>) noexcept = nullptr;
  // Input node function for one rx queue: reads packets and enqueues them to "ethernet-input" (or
  // "ip4-input" ... for devices without Ethernet). Returns how many there were; 0 = found nothing.
  // Bound: one frame per call.
  uint32_t (*rx)(Worker&, NodeRuntime&, void* device, uint16_t queue) noexcept = nullptr;
  // set_admin and set_mtu may answer kInProgress: the device is not there yet, for want of an
  // answer from somebody else, and follows without being asked again. The interface is as it was
  // asked to be, and who asked is told.
  Status (*set_admin)(void* device, bool up) noexcept = nullptr;
  Status (*set_mtu)(void* device, uint32_t mtu) noexcept = nullptr;  // L3 bytes
  void (*destroy)(void* device) noexcept = nullptr;                  // no worker uses it any more
  void (*describe)(void* device,
                   std::string& out) noexcept = nullptr;  // for `show hardware-interfaces`
  // The interface has another link-layer address from now on, and must receive what is sent to it.
  // Null: the device's address cannot be changed.
  Status (*set_mac)(void* device, const MacAddress& mac) noexcept = nullptr;
  // How rx is called for a queue from now on. kPolling: every round, so nobody has to make the
  // queue's descriptor readable, and a call that finds nothing should cost no system call. Else a
  // call that finds nothing is the last until the descriptor is readable; one more comes after each
  // change. Before the first change a queue is kAdaptive. A worker may be in rx meanwhile. Null: it
  // is all the same to the driver.
  void (*set_rx_mode)(void* device, uint16_t queue, RxMode mode) noexcept = nullptr;
};

struct RxQueueConfig {
  int event_fd = -1;  // readable when there are packets; -1 = can only be polled
};

struct InterfaceConfig {
  std::string name;     // "tap0"
  MacAddress mac;       // zero = an address is made up
  uint32_t mtu = 1500;  // L3 bytes
  uint32_t max_mtu = 9216;
  uint32_t caps = 0;
  bool is_ethernet = true;  // false: raw IP
  const DriverOps* ops = nullptr;
  void* device = nullptr;  // driver's; passed back to it
  const char* input_node =
      nullptr;  // name shown for its rx work: "tap-input"; registered by the driver with a null run
  uint16_t n_tx_queues = 1;              // queue i is used by worker i modulo n
  std::vector<RxQueueConfig> rx_queues;  // placed on workers round robin
};

struct InterfaceCounters {
  uint64_t packets = 0, bytes = 0, drops = 0, errors = 0;
};

}  // namespace loom
