// DriverOps::rx of a host interface: one recvmsg a packet, into buffers that are already there.
//   in    packets of the kernel's interface, each behind a virtio-net header, up to 64 KB (GRO, or
//         GSO of the other end of a veth); a VLAN tag comes beside the packet
//   out   ethernet-input | drop (header and packet contradict each other)
//   cost  one system call and one copy, the kernel's, a packet
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <cerrno>

#include <hostloom/virtio_net.h>

#include "device.h"

namespace loom::af_packet {
namespace {

enum Next : uint16_t { kToEthernet, kToDrop };
constexpr CounterInfo kCounters[kRxCounterCount] = {
    {"received", Severity::kInfo, "packets handed to ethernet-input"},
    {"malformed", Severity::kError, "virtio-net header contradicts the packet"},
    {"runt", Severity::kError, "shorter than an Ethernet header"},
    {"too-long", Severity::kError, "longer than 64 KB (BIG TCP)"},
    {"unsupported", Severity::kError, "put together in a way that the kernel cannot describe"},
    {"no-buffers", Severity::kWarn, "calls that read nothing because the pool was empty"},
    {"host-down", Severity::kInfo, "times that the host's interface went down or away"},
    {"read-failed", Severity::kError, "reads that failed, other than by finding nothing"},
};

// What a read of one packet brings beside its bytes.
struct Read {
  VnetHeader header;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(tpacket_auxdata))];
};

// The tag that the kernel has taken out of the frame, or null.
const tpacket_auxdata* vlan_of(msghdr& m) noexcept {
  const cmsghdr* c = CMSG_FIRSTHDR(&m);
  if (!c || c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
      c->cmsg_len < CMSG_LEN(sizeof(tpacket_auxdata)))
    return nullptr;
  const auto* aux = reinterpret_cast<const tpacket_auxdata*>(CMSG_DATA(c));
  return aux->tp_status & TP_STATUS_VLAN_VALID ? aux : nullptr;
}

// Puts it back behind the addresses. Offsets that are noted already stay right: what moves is in
// front of them.
void restore_tag(Buffer& b, const tpacket_auxdata& aux) noexcept {
  struct {
    Be16 type, tci;
  } tag{aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : kEtherTypeVlan,
        aux.tp_vlan_tci};
  constexpr std::size_t kAddresses = offsetof(EthernetHeader, type);
  std::byte* at = b.prepend(sizeof tag);
  std::memmove(at, at + sizeof tag, kAddresses);
  std::memcpy(at + kAddresses, &tag, sizeof tag);
}

// What becomes of a read that brought no packet: whether the caller goes on reading.
enum class Failed : uint8_t { kAgain, kEmpty, kLostPacket };
Failed note_failure(NodeRuntime& rt, int err) noexcept {
  switch (err) {
    case EAGAIN:
      return Failed::kEmpty;
    case EINTR:
      return Failed::kAgain;
    case EINVAL:  // the kernel has no words for it in the header, and has let it go
      rt.count(kUnsupported);
      return Failed::kLostPacket;
    case ENETDOWN:
      rt.count(kHostDown);
      return Failed::kEmpty;
    default:
      rt.count(kReadFailed);
      return Failed::kEmpty;
  }
}

}  // namespace

// Named for the listing of what the driver does inside the IP layer's polling.
const NodeInfo kInputNode{
    .name = "af-packet-input",
    .run = nullptr,
    .kind = NodeKind::kInput,
    .counters = kCounters,
    .next = {"ethernet-input", "drop"},
};

uint32_t rx(Worker& w, NodeRuntime& rt, void* device, uint16_t queue) noexcept {
  Device& d = *static_cast<Device*>(device);
  RxQueue& q = *d.queues[queue];
  if (!d.has_totals.load(std::memory_order_acquire)) [[unlikely]]
    return 0;
  std::array<Buffer*, kFrameSize> packets;
  uint32_t n = 0, n_bytes = 0, n_dropped = 0;
  bool is_empty = false;
  Read read;

  while (q.budget.has_room(n + n_dropped, n_bytes)) {
    if (!q.buffers.refill(w)) [[unlikely]] {
      rt.count(kNoBuffers);  // what arrives waits in the socket, which has a limit
      break;
    }
    const auto iov = q.buffers.iov(&read.header, kVnetSize);
    msghdr m{};
    m.msg_iov = iov.data();
    m.msg_iovlen = iov.size();
    m.msg_control = read.control;
    m.msg_controllen = sizeof read.control;
    const ssize_t got = recvmsg(q.socket.get(), &m, 0);
    if (got < 0) {
      const Failed why = note_failure(rt, errno);
      if (why == Failed::kLostPacket) ++n_dropped;
      is_empty = why == Failed::kEmpty;
      if (is_empty) break;
      continue;
    }
    // In both cases the buffers are not used up.
    if (got < static_cast<ssize_t>(kVnetSize + sizeof(EthernetHeader))) [[unlikely]] {
      rt.count(kRunt);
      ++n_dropped;
      continue;
    }
    if (m.msg_flags & MSG_TRUNC || static_cast<uint32_t>(got) - kVnetSize > q.buffers.capacity())
        [[unlikely]] {
      rt.count(kTooLong);
      ++n_dropped;
      continue;
    }
    Buffer* b = q.buffers.take(static_cast<uint32_t>(got) - kVnetSize);
    b->rx_if = d.index;
    if (!vnet_apply_received(read.header, *b, /*takes_udp=*/true)) [[unlikely]] {
      rt.count(kMalformed);
      rt.set_error(*b, kMalformed);
      rt.enqueue_all({&b, 1}, kToDrop);
      ++n_dropped;
      continue;
    }
    if (const tpacket_auxdata* aux = vlan_of(m)) restore_tag(*b, *aux);
    n_bytes += b->length();
    packets[n++] = b;
  }

  const uint32_t found = n + n_dropped;
  q.budget.note(found, is_empty);
  if (n != 0) {
    rt.count(kReceived, n);
    rt.enqueue_all({packets.data(), n}, kToEthernet);
  }
  if (found != 0) d.rx_totals.add(w.index, n, n_bytes, n_dropped);
  return found;
}

}  // namespace loom::af_packet
