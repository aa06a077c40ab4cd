// The driver on DPDK itself, once a process: EAL on plain pages, and net_ring, whose ring the test
// has in its hands, too. What is put into it is received; what is sent lies in it.
#pragma once
#include <rte_ring.h>

#include "devices.h"
#include "driver_harness.h"

namespace loom::dpdk {

class Harness : public DriverHarness {
 public:
  static constexpr uint32_t kBuffers = 4096;
  static Harness& get();  // made by the first call; the process has one EAL
  // With other devices, of which the first is taken up.
  explicit Harness(const std::string& devices);

  Device& device() { return *devices->all().front(); }
  uint32_t receive() { return dpdk::rx(worker(), input(), &device(), 0); }
  uint32_t send(std::span<Buffer* const> packets) {
    return dpdk::tx(worker(), &device(), 0, packets);
  }
  // At once, as of devices that wait for nobody: kInProgress where one does.
  Result<IfIndex> create(const DeviceConfig&);
  Result<void> remove(IfIndex);
  // An mbuf as a driver fills it in.
  rte_mbuf* mbuf(const std::string& bytes);
  bool put(rte_mbuf* m) { return rte_ring_enqueue(ring, m) == 0; }
  rte_mbuf* taken();       // what was sent; null = nothing
  void free(rte_mbuf* m);  // as a driver that has sent it

  std::unique_ptr<Devices> devices;
  rte_ring* ring = nullptr;  // of net_ring0
};

// `vdev TEXT { trust-peer }`
inline DeviceConfig trusting(std::string_view text) {
  DeviceConfig c = *parse_vdev(text);
  c.trusts_peer = true;
  return c;
}

// A frame of so many bytes with an IPv4 header (20 bytes) and a TCP header (20), addresses and
// ports.
std::string tcp_frame(std::size_t payload);

}  // namespace loom::dpdk
