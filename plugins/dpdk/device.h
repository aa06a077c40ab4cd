// One interface over a port of DPDK's: its queues, what it can, what it counts.
#pragma once
#include <rte_ethdev.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/driver.h>
#include <hostloom/unique_fd.h>

#include "burst_gate.h"
#include "call_thread.h"
#include "config.h"
#include "mempool.h"
#include "peer_listener.h"
#include "peer_socket.h"
#include "tap_host.h"

namespace loom::dpdk {

class Devices;

// What DPDK does not tell of its drivers.
struct DriverTraits {
  const char* driver;  // "net_tap"
  // It copies a packet, by the processor, before a burst returns: segments may lie anywhere, also
  // in an application's fifo. What such a driver calls offloads it does in software, as the graph
  // does.
  bool copies_at_once = false;
  // The other side has the device's MAC address: ours is another one.
  bool shares_mac = false;
  bool takes_chains = false;  // although it does not say so
  // It looks for its peer when it is started, and fails without one; one that it has lost is found
  // again by another start.
  bool is_restarted = false;
  // EAL's interrupt thread hears its peer and changes what starting, stopping and closing change,
  // without a lock: it does those, too.
  bool is_run_by_interrupts = false;
  // Only stopping, which never waits for a peer: that thread must not be hearing the peer while it
  // is told to listen no more, nor have an alarm left for a device that is closed then.
  bool is_stopped_by_interrupts = false;
  bool wants_signals = false;       // its descriptors send a signal a packet: see port.cc
  bool is_tap = false;              // the kernel's end of it may be moved
  bool wants_equal_queues = false;  // as many to send as to receive
  bool has_fixed_link = false;      // up while it is started: nobody is at the other end
};
const DriverTraits& traits_of(std::string_view driver) noexcept;

// `ready` is what the worker sleeps on: an epoll of our own, which has the driver's descriptor in
// it while the device is started.
struct RxQueue {
  UniqueFd ready;        // none: the driver has no interrupts, the queue is polled
  UniqueFd always;       // stands in for the driver's when it has none any more
  bool is_edge = false;  // the driver's is an eventfd, which nobody reads
  bool needs_arming = false;
  std::atomic<bool> is_polled{false};  // every round: nobody is to be woken
  bool is_armed = false;               // the worker's
  uint32_t n_empty = 0;                // the worker's: calls in a row that found nothing
  std::atomic<uint32_t> worker{~0u};   // who polled it last
};

// Written by workers that share a queue.
struct TxCounters {
  std::atomic<uint64_t> ring_full{0};    // given back
  std::atomic<uint64_t> stopped{0};      // the device is not started
  std::atomic<uint64_t> bad_offsets{0};  // checksum or segment offsets outside the packet
  std::atomic<uint64_t> refused{0};      // by the driver, rte_eth_tx_prepare
  std::atomic<uint64_t> too_many_segments{0};
  std::atomic<uint64_t> no_buffers{0};  // to copy what the device cannot reach
  std::atomic<uint64_t> copied{0};  // packets sent all the same: bytes of applications were copied
};

struct Device {
  Devices* all = nullptr;
  Host* host = nullptr;
  Mempools* mempools = nullptr;
  DeviceConfig config;
  std::string name;  // of the interface
  IfIndex index = kNoIndex;
  uint16_t port = 0;
  rte_eth_dev_info info{};
  DriverTraits traits;
  std::vector<std::unique_ptr<RxQueue>> queues;
  uint16_t n_tx_queues = 1;
  uint16_t n_rx_descriptors = 0, n_tx_descriptors = 0;
  uint64_t rx_offloads = 0, tx_offloads = 0;
  uint64_t rss = 0;
  bool takes_chains = false;
  bool has_lro = false;
  uint32_t most_segments = 0;      // of a packet to send that the device cuts
  uint32_t most_mtu_segments = 0;  // of another
  bool has_link_interrupt = false;
  BurstGate* gate = nullptr;    // what its bursts pass: net_memif's (memif_guard.h)
  rte_mempool* pool = nullptr;  // its rx queues are filled from it
  Buffer fresh;  // a buffer of that pool as a received packet has it, but for data, len and flags
  std::atomic<bool> is_started{false};
  std::atomic<bool> is_removed{false};  // the bus says that it is gone
  std::atomic<bool> has_totals{false};  // rx_totals is there; no packet is read before
  RxTotals rx_totals;
  TxCounters tx_counters;

  // --- Calls into the driver (calls.cc; README.md, "Threads"). Control thread.
  PeerSocket peer;                         // of a driver that waits for one
  std::unique_ptr<PeerListener> listener;  // where that connects to us; null: we connect
  bool has_come = false;                   // one has, to be refused or not, in the latest probe
  std::unique_ptr<CallThread>
      thread;  // such a driver is called there, others on the control thread
  // A call has begun there and its end has not been seen to: meanwhile nobody else calls the
  // driver, and what it may write is not read. That is info to rss, port, has_port and is_plugged.
  bool is_called = false;
  uint32_t n_ticks_called = 0;  // for so long
  std::function<void()> then;   // what follows it
  bool is_plugged = false;      // EAL has it on its bus
  bool has_port = false;        // and it has a port, whose number is `port`
  bool is_configured = false;   // that is as `mtu` and the queues say: it can be started
  Result<void> outcome;         // of the latest call
  bool is_disposed = false;     // the interface is gone, and the port is to go
  std::function<void(Result<IfIndex>)> on_made;  // who waits for it to be there
  std::function<void(Result<void>)> on_closed;   // and for it to be gone

  // Control thread.
  uint32_t mtu = 1500;         // that it was configured with, or is being
  uint32_t wanted_mtu = 1500;  // and is to be
  MacAddress mac;              // the interface's; all zeros where it is not the device's
  bool is_mac_late = false;    // the device has not been told
  bool is_admin_up = false;
  bool is_link_up = false;
  bool is_gone = false;       // is_removed has been seen to
  TapHost host_end;           // of a net_tap
  bool is_elsewhere = false;  // that is in another namespace, or renamed
  uint32_t n_ticks_down = 0;  // since it was started, or its peer was looked for
  uint32_t n_refused = 0;     // attempts in a row to find its peer again
  Result<void> refusal;       // of the latest wish
  // Who wished has been told kInProgress, and the interface is as it was wished: it stays so,
  // whatever the driver comes to say.
  bool is_wish_late = false;
  rte_eth_link link{};
};

// --- port.cc: a port of DPDK's. The errors say which call, and why. On the thread on which the
// driver is called, unless said otherwise.
// Queues, offloads, MTU as the device has them; it is stopped. May be called again.
Result<void> configure_port(Device&);
// rte_eth_dev_start, _stop or _close, on the thread that it is to be called on.
int call_port(const Device&, int (*call)(uint16_t port));
Result<void> start_port(Device&);
// Before halt_port, on the control thread: on return no worker is in rx or tx. Whether it was
// started.
bool quiesce_port(Device&);
void halt_port(Device&);
void stop_unknown_port(Device&);  // both, where no worker knows the device

// --- DriverOps.
uint32_t rx(Worker&, NodeRuntime&, void* device, uint16_t queue) noexcept;
uint32_t tx(Worker&, void* device, uint16_t queue, std::span<Buffer* const>) noexcept;
Status set_admin(void* device, bool up) noexcept;
Status set_mtu(void* device, uint32_t mtu) noexcept;
Status set_mac(void* device, const MacAddress& mac) noexcept;
void describe(void* device, std::string& out) noexcept;

// Node "dpdk-input".
enum RxCounter : uint16_t { kReceived, kCopied, kMalformed, kRunt, kNoBuffers, kRxCounterCount };
extern const NodeInfo kInputNode;
extern const DriverOps kDriver;

}  // namespace loom::dpdk
