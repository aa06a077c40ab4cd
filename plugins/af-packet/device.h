// One host interface: its packet sockets, what its queues hold between calls, and what it counts.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/driver.h>
#include <hostloom/packet_io.h>

#include "host_link.h"
#include "packet_socket.h"

namespace loom::af_packet {

class HostInterfaces;

// What `create host-interface` was given.
struct HostInterfaceConfig {
  std::string host_name;          // the kernel's interface then; ours is "host-NAME"
  MacAddress mac;                 // ours; zero = made up
  uint16_t n_rx_queues = 1;       // 0 = one a worker
  uint16_t n_tx_queues = 0;       // 0 = one a worker
  bool is_offloaded = true;       // checksums and segments are left to the kernel
  bool is_qdisc_bypassed = true;  // without offload only
};

// A packet socket and what a worker needs to receive from it. The descriptor keeps its number when
// the socket is replaced, because the interface has come back; `ready` is what the worker sleeps
// on: an epoll of our own, which has the socket in it while the interface is up.
struct RxQueue {
  UniqueFd socket, ready;
  RxRing ring;
  RxBuffers buffers;                   // for the packets that are longer than a slot
  RxBudget budget;                     // of a queue without a ring
  uint32_t n_empty = 0;                // calls that found nothing
  std::atomic<bool> is_polled{false};  // every round: nobody is to be woken
  // Control thread: what the kernel has counted in all, and had when it was last looked at.
  struct Counts {
    uint64_t packets = 0, drops = 0;
  } counts, seen;
};

// Why packets that were taken over did not get out, and one reason for which they were not taken.
// Written by workers that share a queue.
struct TxCounters {
  std::atomic<uint64_t> socket_full{0};  // EAGAIN: given back
  std::atomic<uint64_t> queue_full{0};   // ENOBUFS: dropped by the kernel
  std::atomic<uint64_t> bad_offsets{0};  // checksum or segment offsets outside the packet
  std::atomic<uint64_t> too_many_segments{0};
  std::atomic<uint64_t> too_long{0};   // EMSGSIZE: beyond the host interface's MTU
  std::atomic<uint64_t> host_down{0};  // ENETDOWN, ENXIO, ENODEV: it is down, or gone
  std::atomic<uint64_t> no_memory{0};  // ENOMEM
  std::atomic<uint64_t> refused{0};    // any other error
};

struct Device {
  HostInterfaces* all = nullptr;
  HostInterfaceConfig config;
  std::string name;  // our interface
  IfIndex index = kNoIndex;
  std::vector<std::unique_ptr<RxQueue>> queues;
  std::atomic<bool> has_totals{false};  // rx_totals is there; no packet is read before
  RxTotals rx_totals;
  TxCounters tx_counters;
  std::atomic<uint32_t> host_mtu{~0u};  // link.mtu while it is there, for the workers

  // Control thread.
  HostLink link;  // as last looked at; index 0: the host's interface is gone
  bool is_admin_up = false;
  bool must_look_again = false;  // the last look, or taking it into use again, has failed
  uint64_t n_failed_looks = 0;
  uint32_t mtu = 0;           // ours
  uint32_t asked_mtu = 0;     // the most that it may be, by the operator; 0: the kernel's
  uint32_t refused_mtu = 0;   // could not be taken over, which has been logged, and is tried again
  bool has_rings = true;      // false: one has stopped
  uint64_t kernel_drops = 0;  // of packets that the sockets had no room for
};

// What the kernel's interface is called now, or while it is gone the name that it is awaited under.
inline const std::string& host_name(const Device& d) noexcept {
  return d.link.index != 0 ? d.link.name : d.config.host_name;
}

// Opens a socket a queue on config.host_name, which is taken up if it is down. The error says which
// step failed, and which capability is missing if one is.
Result<std::unique_ptr<Device>> open_device(HostLinks&, const HostInterfaceConfig&,
                                            uint16_t n_queues);
// The host's interface is back, or a ring has stopped: other sockets under the same numbers.
Result<void> reopen(Device&);
// Brings the link of a device that is attached up to date. kNotFound: the kernel has taken it away
// from the sockets, and has no interface of that number, or another; d.link.index is 0. Any other
// error: the look has failed, and d.link stays as it was.
Result<void> look_again(HostLinks&, Device&);
// Whether there is a ring that may stop.
bool has_ring(const Device&) noexcept;
// Adds what the kernel has counted since the last call.
void note_kernel_drops(Device&) noexcept;
// Whether a ring has taken no packet since the last call, although it is empty and some came.
bool has_stopped_ring(Device&);

// DriverOps.
uint32_t rx(Worker&, NodeRuntime&, void* device, uint16_t queue) noexcept;
uint32_t tx(Worker&, void* device, uint16_t queue, std::span<Buffer* const>) noexcept;
Status set_admin(void* device, bool up) noexcept;
Status set_mtu(void* device, uint32_t mtu) noexcept;
// That of the kernel's interface, which is there. Ours stays.
Status raise_host_mtu(Device&, uint32_t mtu) noexcept;
void describe(void* device, std::string& out) noexcept;

// Node "af-packet-input".
enum RxCounter : uint16_t {
  kReceived,
  kMalformed,
  kRunt,
  kTooLong,
  kUnsupported,
  kSocketFull,
  kNoBuffers,
  kHostDown,
  kReadFailed,
  kRxCounterCount
};
extern const NodeInfo kInputNode;
extern const DriverOps kDriver;

}  // namespace loom::af_packet
