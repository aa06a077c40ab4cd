// A packet socket (packet(7)) on one interface of the kernel: opened, joined with others into a
// fanout group, opened and shut for what arrives. Control thread.
//
// Each packet has a virtio-net header in front (PACKET_VNET_HDR): checksums and segments of up to
// 64 KB stay unfinished both ways. A VLAN tag, which the kernel keeps beside the packet, comes as
// auxiliary data. Our own packets, and the kernel's on the way out, do not come back.
#pragma once
#include <vector>

#include <hostloom/status.h>
#include <hostloom/unique_fd.h>

#include "rx_ring.h"

namespace loom::af_packet {

struct SocketConfig {
  uint32_t host_index = 0;
  bool is_qdisc_bypassed = true;
  bool has_ring = true;  // where the kernel's can be used (rx_ring.h)
};

struct PacketSocket {
  UniqueFd fd;
  RxRing ring;  // none: every packet is in the socket's queue
};

// Bound, in promiscuous mode, and shut: nothing is received before let_in(true). Receive and send
// buffers are as large as the kernel allows up to twice kRxBytes and kTxBytes.
// kPermission: CAP_NET_RAW is missing; kUnsupported: the kernel is too old.
Result<PacketSocket> open_packet_socket(const SocketConfig&);
constexpr int kRxBytes = 16 << 20, kTxBytes = 4 << 20;  // by the kernel's own account, per queue

// Joins the sockets of one interface: a flow comes to one of them, both directions of it to the
// same.
Result<void> join(const std::vector<PacketSocket>& sockets);

// Whether packets are received.
void let_in(int fd, bool is_open) noexcept;
// Throws away what has arrived, of a socket that is shut. No worker uses the ring meanwhile.
void empty(int fd, RxRing& ring) noexcept;

// Whether the interface that it was bound to is still there.
bool is_attached(int fd) noexcept;

// Packets and drops of the kernel's since the last call.
struct SocketCounts {
  uint32_t packets = 0, drops = 0;
};
SocketCounts take_counts(int fd) noexcept;

}  // namespace loom::af_packet
