// One memif interface: what workers need of it, and what it counts.
#pragma once
#include <hostloom/driver.h>

#include "backlog.h"
#include "handshake.h"

namespace loom::memif {

class Memifs;
class Peer;

// What `create interface memif` was given.
struct MemifConfig : LinkConfig {
  uint32_t socket_id = 0;
  MacAddress mac;  // zero = made up
};

struct RxQueue {
  explicit RxQueue(Ear e) noexcept : ear(std::move(e)) {}
  Ear ear;
  uint32_t turn = 0;  // the ring that is looked at first: a peer may have more rings than we queues
  bool is_armed = false;  // the last call found nothing, and the peer has been told to wake us
  uint32_t n_calls = 0;   // since then, for nothing
  std::atomic<bool> is_polled{false};  // every round: the peer need not wake us
};

// Packets that had to wait, or why they did not get out. Written by workers.
struct TxCounters {
  std::atomic<uint64_t> held{0};         // in a backlog: the ring was full
  std::atomic<uint64_t> ring_full{0};    // given back: so was the backlog
  std::atomic<uint64_t> too_long{0};     // for the whole ring
  std::atomic<uint64_t> bad_headers{0};  // to be finished, but no header where it should be
  std::atomic<uint64_t> no_peer{0};
  std::atomic<uint64_t> no_memory{0};  // had waited, and the pool was empty
  std::atomic<uint64_t> stopped{0};    // had waited, and the peer took nothing any more
  std::atomic<uint64_t> faults[static_cast<std::size_t>(Fault::kCount)] = {};
};

struct Device {
  Memifs* memifs = nullptr;
  MemifConfig config;
  std::string name;
  IfIndex index = kNoIndex;
  std::vector<std::unique_ptr<RxQueue>> queues;
  RxTotals rx_totals;

  // A worker that has loaded it uses it until its round ends.
  std::atomic<Link*> link{nullptr};
  std::atomic<Fault> fault{Fault::kNone};  // of that link: workers let it be from now on
  TxCounters tx_counters;
  std::vector<std::unique_ptr<Backlog>> backlogs;  // by worker
  std::atomic<uint32_t> n_kept{0};                 // buffers that wait there

  // Control thread.
  MacAddress mac;  // of the interface, as it is now; zero in mode ip
  std::unique_ptr<Link> owned_link;
  Peer* peer = nullptr;  // connected, or shaking hands
  bool is_admin_up = false;
  std::string peer_name, peer_interface;
  std::string last_reason;  // why there is no link
  uint64_t n_connected = 0;
  uint32_t ticks_to_connect = 0, backoff = 1;  // slave
};

// DriverOps, on workers.
uint32_t rx(Worker&, NodeRuntime&, void* device, uint16_t queue) noexcept;
uint32_t tx(Worker&, void* device, uint16_t queue, std::span<Buffer* const>) noexcept;
// What waits on this worker goes out, as far as there is room and a call may do; without a link it
// is lost. True: there is more to do at once.
bool send_waiting(Worker&, Device&) noexcept;

extern const NodeInfo kInputNode;
extern const DriverOps kDriver;

}  // namespace loom::memif
