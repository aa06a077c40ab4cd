// DriverOps::tx of a TAP: one writev a packet. The segments of a chain, also those that lie in an
// application's fifo, go to the kernel as they are; its copy is the only one.
//
// A packet of up to 64 KB goes in one piece: the virtio-net header tells the kernel the segment
// size, and the kernel cuts only if it has to send it on to a device that cannot.
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include <hostloom/virtio_net.h>
#include <hostloom/worker.h>

#include "device.h"

namespace loom::tap {
namespace {

void count(std::atomic<uint64_t>& counter) noexcept {
  counter.fetch_add(1, std::memory_order_relaxed);
}

// Returns false when the kernel has no room now. Otherwise the packet is done with, sent or
// counted.
bool send(int fd, const Buffer& packet, TxErrors& errors) noexcept {
  VnetHeader header;
  if (!vnet_make_to_send(packet, header)) [[unlikely]] {
    count(errors.bad_offsets);
    return true;
  }
  TxSegments segments(&header, kVnetSize);
  if (!segments.gather(packet)) [[unlikely]] {
    count(errors.too_many_segments);
    return true;
  }
  const auto iov = segments.iov();
  for (;;) {
    if (writev(fd, iov.data(), static_cast<int>(iov.size())) >= 0) [[likely]]
      return true;
    switch (errno) {
      case EINTR:
        continue;
      case EAGAIN:
        return false;
      case EIO:
        count(errors.host_down);
        return true;
      case ENOMEM:
      case ENOBUFS:
        count(errors.no_memory);
        return true;
      default:
        count(errors.refused);
        return true;
    }
  }
}

}  // namespace

uint32_t tx(Worker& w, void* device, uint16_t queue, std::span<Buffer* const> packets) noexcept {
  Device& d = *static_cast<Device*>(device);
  // There may be more tx queues than file descriptors; the kernel lets several threads write to
  // one.
  const int fd = d.queues[queue % d.queues.size()]->fd;
  uint32_t n = 0;
  for (; n < packets.size(); ++n) {
    if (n + kPrefetchAhead < packets.size()) packets[n + kPrefetchAhead]->prefetch();
    if (!send(fd, *packets[n], d.tx_errors)) break;
  }
  w.free(packets.first(n));
  return n;
}

}  // namespace loom::tap
