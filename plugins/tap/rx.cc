// DriverOps::rx of a TAP: one readv a packet, into buffers that are already there.
//   in    packets from the kernel, each behind a virtio-net header, up to 64 KB (GSO)
//   out   ethernet-input | drop (header and packet contradict each other)
//   cost  one system call and one copy, the kernel's, a packet; a chain of 33 buffers of 2 KB
//         stands ready for the largest packet, and only the buffers that a packet used are replaced
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <hostloom/rx_frame.h>
#include <hostloom/virtio_net.h>

#include "device.h"

namespace loom::tap {
namespace {

enum Next : uint16_t { kToEthernet, kToDrop };
constexpr CounterInfo kCounters[kRxCounterCount] = {
    {"received", Severity::kInfo, "packets handed to ethernet-input"},
    {"malformed", Severity::kError, "virtio-net header contradicts the packet"},
    {"runt", Severity::kError, "shorter than an Ethernet header"},
    {"unsupported", Severity::kError, "large packets inside tunnels"},
    {"no-buffers", Severity::kWarn, "calls that read nothing because the pool was empty"},
    {"read-failed", Severity::kError, "reads that failed, other than by finding nothing"},
};

}  // namespace

// Named for the listing of what the driver does inside the IP layer's polling.
const NodeInfo kInputNode{
    .name = "tap-input",
    .run = nullptr,
    .kind = NodeKind::kInput,
    .counters = kCounters,
    .next = {"ethernet-input", "drop"},
};

uint32_t rx(Worker& w, NodeRuntime& rt, void* device, uint16_t queue) noexcept {
  Device& d = *static_cast<Device*>(device);
  RxQueue& q = *d.queues[queue];
  if (q.is_gone || !d.has_totals.load(std::memory_order_acquire)) [[unlikely]]
    return 0;
  VnetHeader header;
  RxFrame frame(rt, d.index);
  bool is_empty = false;

  while (q.budget.has_room(frame.n_found(), frame.n_spent())) {
    if (!q.buffers.refill(w)) [[unlikely]] {
      rt.count(kNoBuffers);  // what arrives waits in the kernel's queue, which has a limit
      break;
    }
    const auto iov = q.buffers.iov(&header, kVnetSize);
    const ssize_t got = readv(q.fd, iov.data(), static_cast<int>(iov.size()));
    if (got < 0) {
      is_empty = true;
      if (errno == EAGAIN) [[likely]]
        break;
      if (errno == EINTR) continue;
      rt.count(kReadFailed);
      q.is_gone = errno == EBADFD;  // deleted under our feet; Taps replaces the descriptor
      break;
    }
    if (got < static_cast<ssize_t>(kVnetSize + sizeof(EthernetHeader))) [[unlikely]] {
      frame.drop(kRunt);  // the buffers were not used
      continue;
    }
    Buffer& b =
        *q.buffers.take(std::min(static_cast<uint32_t>(got) - kVnetSize, q.buffers.capacity()));
    if (const auto v = vnet_apply_received(header, b); v != VnetVerdict::kGood) [[unlikely]]
      frame.drop(b, v == VnetVerdict::kMalformed ? kMalformed : kUnsupported, kToDrop);
    else
      frame.add(b);
  }

  q.budget.note(frame.n_found(), is_empty);
  if (frame.n_good() != 0) rt.count(kReceived, frame.n_good());
  return frame.hand_on(kToEthernet, d.rx_totals);
}

}  // namespace loom::tap
