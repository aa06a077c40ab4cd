// DriverOps::tx of a host interface: one writev a packet. The segments of a chain, also those that
// lie in an application's fifo, go to the kernel as they are; its copy is the only one. A packet of
// up to 64 KB goes in one piece, and the kernel or the device cuts it.
#include <sys/uio.h>

#include <cerrno>

#include <hostloom/virtio_net.h>

#include "device.h"

namespace loom::af_packet {
namespace {

void count(std::atomic<uint64_t>& counter, uint64_t n = 1) noexcept {
  counter.fetch_add(n, std::memory_order_relaxed);
}

// Counts why the kernel has not sent a packet. False: there is no room now.
bool note_failure(int err, TxCounters& c) noexcept {
  switch (err) {
    case EAGAIN:  // the socket's send buffer is full
      return false;
    case ENOBUFS:  // a queue of the kernel's is; it has dropped the packet
      count(c.queue_full);
      return true;
    case EMSGSIZE:
      count(c.too_long);
      return true;
    case ENETDOWN:
    case ENXIO:
    case ENODEV:
      count(c.host_down);
      return true;
    case ENOMEM:
      count(c.no_memory);
      return true;
    default:
      count(c.refused);
      return true;
  }
}

// Whether the segments of a packet that is cut are longer than the host's MTU: of those the kernel
// does not say EMSGSIZE.
bool is_too_long(const Buffer& packet, const VnetHeader& h, uint32_t host_mtu) noexcept {
  if (h.gso_type == kVnetGsoNone) return false;
  const auto* eth = reinterpret_cast<const EthernetHeader*>(packet.data);  // in front of the TCP's
  const uint32_t link_header =
      sizeof(EthernetHeader) + (eth->type == kEtherTypeVlan ? sizeof(VlanTag) : 0);
  return uint64_t{h.hdr_len} + h.gso_size > uint64_t{host_mtu} + link_header;
}

// Returns false when the kernel has no room now. Otherwise the packet is done with, sent or
// counted.
bool send(int fd, const Buffer& packet, uint32_t host_mtu, TxCounters& c) noexcept {
  VnetHeader header;
  if (!vnet_make_to_send(packet, header)) [[unlikely]] {
    count(c.bad_offsets);
    return true;
  }
  if (is_too_long(packet, header, host_mtu)) [[unlikely]] {
    count(c.too_long);
    return true;
  }
  TxSegments segments(&header, kVnetSize);
  if (!segments.gather(packet)) [[unlikely]] {
    count(c.too_many_segments);
    return true;
  }
  const auto iov = segments.iov();
  for (;;) {
    if (writev(fd, iov.data(), static_cast<int>(iov.size())) >= 0) [[likely]]
      return true;
    if (errno != EINTR) return note_failure(errno, c);
  }
}

}  // namespace

uint32_t tx(Worker& w, void* device, uint16_t queue, std::span<Buffer* const> packets) noexcept {
  Device& d = *static_cast<Device*>(device);
  // There may be more tx queues than sockets; the kernel lets several threads write to one.
  const int fd = d.queues[queue % d.queues.size()]->socket.get();
  const uint32_t host_mtu = d.host_mtu.load(std::memory_order_relaxed);
  uint32_t n = 0;
  for (; n < packets.size(); ++n) {
    if (n + kPrefetchAhead < packets.size()) packets[n + kPrefetchAhead]->prefetch();
    if (!send(fd, *packets[n], host_mtu, d.tx_counters)) break;
  }
  if (n != packets.size()) count(d.tx_counters.socket_full, packets.size() - n);
  w.free(packets.first(n));
  return n;
}

}  // namespace loom::af_packet
