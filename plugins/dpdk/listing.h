// What there is to say about a device, for the commands, the messages and `show
// hardware-interfaces`. Control thread.
#pragma once
#include <optional>
#include <string>
#include <utility>

#include "device.h"

namespace loom::dpdk {

// Whether its port, its descriptors, its offloads and the driver's counters are to be had: not
// while its driver waits for the peer, nor without one.
bool is_readable(const Device&);

// The names of the offloads in use, DPDK's, with a blank between them; "" = none.
std::string rx_offload_text(const Device&);
std::string tx_offload_text(const Device&);

// What the device and its driver have counted. tx: packets, by what became of them (TxCounters).
struct DeviceCounters {
  InterfaceCounters rx;
  rte_eth_stats device{};  // zeros where the driver keeps none
  uint64_t ring_full = 0, stopped = 0, bad_offsets = 0, refused = 0, too_many_segments = 0,
           no_buffers = 0, copied = 0;
  // Those that did not get out.
  uint64_t tx_errors() const noexcept {
    return stopped + bad_offsets + refused + too_many_segments + no_buffers + device.oerrors;
  }
};
DeviceCounters counters_of(const Device&);

// One of the driver's own counters, by its number from 0 on. Empty: there are no more.
struct Xstat {
  std::string name;
  uint64_t value = 0;
};
std::optional<Xstat> xstat_of(const Device&, uint64_t number);

}  // namespace loom::dpdk
