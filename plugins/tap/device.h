// One TAP: its file descriptors, what its rx queues hold between calls, and what it counts.
#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <hostloom/driver.h>
#include <hostloom/packet_io.h>
#include <hostloom/unique_fd.h>

namespace loom::tap {

class Taps;

constexpr uint32_t kMaxId = 1'000'000;  // of a TAP: its name has room for no more

// What `create tap` was given.
struct TapConfig {
  uint32_t id = 0;           // the interface is "tapID"
  std::string host_if_name;  // "" = tapID
  std::string host_ns;       // see run_in_net_namespace
  std::string host_bridge;
  std::optional<IpPrefix> host_ip4, host_ip6;
  std::optional<IpAddress> host_ip4_gw, host_ip6_gw;
  std::optional<MacAddress> host_mac;
  MacAddress mac;            // ours; zero = made up
  uint32_t host_mtu = 0;     // 0 = leave the kernel's 1500
  uint16_t n_rx_queues = 0;  // 0 = one a worker
  uint16_t n_tx_queues = 0;  // 0 = one a worker
  bool attach = false;       // to a TAP that exists; else one that exists is refused
  bool segmentation = true;  // TSO in both directions
};

// An rx queue is a file descriptor of the TAP.
struct RxQueue {
  int fd = -1;
  bool is_gone = false;  // the kernel's side has been deleted
  RxBudget budget;
  RxBuffers buffers;
};

// Why packets that were taken over did not get out. Written by workers that share a queue.
struct TxErrors {
  std::atomic<uint64_t> bad_offsets{0};  // checksum or segment offsets outside the packet
  std::atomic<uint64_t> too_many_segments{0};
  std::atomic<uint64_t> host_down{0};  // EIO: the host's side is down
  std::atomic<uint64_t> no_memory{0};  // ENOMEM, ENOBUFS
  std::atomic<uint64_t> refused{0};    // any other error
};

struct Device {
  Host* host = nullptr;
  Taps* taps = nullptr;
  TapConfig config;
  std::string name;       // our interface
  std::string host_name;  // the kernel's
  uint32_t host_index = 0;
  MacAddress host_mac;
  IfIndex index = kNoIndex;
  std::vector<std::unique_ptr<RxQueue>> queues;
  std::atomic<bool> has_totals{false};  // rx_totals is there; no packet is read before
  RxTotals rx_totals;
  TxErrors tx_errors;
  UniqueFd monitor_fd;  // news about the host's link
  uint64_t monitor = 0;

  ~Device();
};

// Opens /dev/net/tun `n_queues` times as one TAP in config.host_ns, sets up the host's side and
// takes it up. Everything is undone when a step fails: the kernel deletes a TAP with its last fd.
// The error says which step failed, and which capability is missing if one is.
Result<std::unique_ptr<Device>> open_device(const TapConfig& config, uint16_t n_queues);

// DriverOps.
uint32_t rx(Worker&, NodeRuntime&, void* device, uint16_t queue) noexcept;
uint32_t tx(Worker&, void* device, uint16_t queue, std::span<Buffer* const>) noexcept;
Status set_admin(void* device, bool up) noexcept;
void describe(void* device, std::string& out) noexcept;

// Node "tap-input".
enum RxCounter : uint16_t {
  kReceived,
  kMalformed,
  kRunt,
  kUnsupported,
  kNoBuffers,
  kReadFailed,
  kRxCounterCount
};
extern const NodeInfo kInputNode;
extern const DriverOps kDriver;

}  // namespace loom::tap
