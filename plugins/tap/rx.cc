// DriverOps::rx of a TAP: one readv a packet, into buffers that are already there.
//   in    packets from the kernel, each behind a virtio-net header, up to 64 KB (GSO)
//   out   ethernet-input | drop (header and packet contradict each other)
//   cost  one system call and one copy, the kernel's, a packet; a chain of 33 buffers of 2 KB
//   stands
//         ready for the largest packet, and only the buffers that a packet used are replaced
//
// How many packets a call reads. The only way to learn that a TAP is empty is a read that fails, a
// system call for nothing. So a call reads no more than its budget and returns without that read
// when the budget is used up; the caller comes again as long as packets were found. Each call that
// uses up its budget doubles it, a call that finds the TAP empty sets it to what was there: a
// request-response load pays for one failing read, not two, and a bulk load still gets full frames.
// kMaxBytes stops a call early enough for the data to be in the L2 cache when it is copied on.
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <hostloom/wire.h>

#include "device.h"
#include "vnet.h"

namespace loom::tap {
namespace {

enum Next : uint16_t { kToEthernet, kToDrop };
constexpr CounterInfo kCounters[kRxCounterCount] = {
    {"received", Severity::kInfo, "packets handed to ethernet-input"},
    {"malformed", Severity::kError, "virtio-net header contradicts the packet"},
    {"runt", Severity::kError, "shorter than an Ethernet header"},
    {"no-buffers", Severity::kWarn, "calls that read nothing because the pool was empty"},
    {"read-failed", Severity::kError, "reads that failed, other than by finding nothing"},
};
constexpr uint32_t kMaxBytes = 256 << 10;

// Where the kernel puts the bytes of segment i.
void point_at(RxQueue& q, uint32_t i) noexcept {
  Buffer& b = *q.buffers[i];
  q.iov[1 + i] = {b.data, b.data_size};
}

// Replaces the buffers that the last packet took. False when the pool cannot: nothing is read then,
// and what arrives waits in the kernel's queue, which has a limit of its own.
bool refill(Worker& w, RxQueue& q) noexcept {
  if (q.n_segments == 0) [[unlikely]] {  // first call: how many are needed is now known
    Buffer* first = w.alloc();
    if (!first) return false;
    const uint32_t size = std::max<uint32_t>(first->data_size, 1);
    q.n_segments = std::min((kMaxPacket + size - 1) / size, kMaxRxSegments);
    q.n_missing = q.n_segments;
    w.free(first);
  }
  while (q.n_missing != 0) {
    // The missing ones are [0, n_missing); filled from the end, so that a partial fill leaves a
    // state of the same form.
    if (q.n_missing == 1) {
      if (!(q.buffers[0] = w.alloc())) return false;
      point_at(q, --q.n_missing);
      return true;
    }
    const uint32_t want = std::min<uint32_t>(q.n_missing, 32);
    const uint32_t got = w.alloc({q.buffers + q.n_missing - want, want});
    if (got < want) {
      w.free({q.buffers + q.n_missing - want, got});
      return false;
    }
    for (uint32_t i = q.n_missing - want; i < q.n_missing; ++i) point_at(q, i);
    q.n_missing -= want;
  }
  return true;
}

// Takes the first buffers of the queue as a packet of `length` bytes.
Buffer* take_packet(RxQueue& q, uint32_t length) noexcept {
  Buffer* first = q.buffers[0];
  first->len = std::min<uint32_t>(length, first->data_size);
  first->rest_len = length - first->len;
  Buffer* last = first;
  uint32_t used = 1;
  for (uint32_t left = first->rest_len; left != 0; ++used) {
    Buffer* b = q.buffers[used];
    b->len = std::min<uint32_t>(left, b->data_size);
    left -= b->len;
    last->next = b;
    last = b;
  }
  q.n_missing = used;
  return first;
}

// One writer, this worker; listings read at any time.
void add(uint64_t& counter, uint64_t n) noexcept {
  __atomic_store_n(&counter, counter + n, __ATOMIC_RELAXED);
}

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
  if (q.is_gone || !d.has_counters.load(std::memory_order_acquire)) [[unlikely]]
    return 0;
  VnetHeader header;
  q.iov[0] = {&header, kVnetSize};
  std::array<Buffer*, kFrameSize> packets;
  uint32_t n = 0, n_bytes = 0, n_dropped = 0;
  const uint32_t budget = q.budget;
  bool is_empty = false;

  while (n + n_dropped < budget && n_bytes < kMaxBytes) {
    if (q.n_missing != 0 || q.n_segments == 0) {
      if (!refill(w, q)) [[unlikely]] {
        rt.count(kNoBuffers);
        break;
      }
    }
    const ssize_t got = readv(q.fd, q.iov, static_cast<int>(1 + q.n_segments));
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
      rt.count(kRunt);  // the buffers were not used
      ++n_dropped;
      continue;
    }
    const auto length =
        std::min(static_cast<uint32_t>(got) - kVnetSize, q.n_segments * q.buffers[0]->data_size);
    Buffer* b = take_packet(q, length);
    b->rx_if = d.index;
    if (!apply_received(header, *b)) [[unlikely]] {
      rt.count(kMalformed);
      rt.set_error(*b, kMalformed);
      rt.enqueue_all({&b, 1}, kToDrop);
      ++n_dropped;
      continue;
    }
    packets[n++] = b;
    n_bytes += length;
  }

  const uint32_t found = n + n_dropped;
  if (is_empty)
    q.budget = std::clamp<uint32_t>(found, 1, kFrameSize);
  else if (found == budget)
    q.budget = std::min<uint32_t>(2 * budget, kFrameSize);
  if (n != 0) {
    rt.count(kReceived, n);
    rt.enqueue_all({packets.data(), n}, kToEthernet);
  }
  if (found != 0) {
    InterfaceCounters& c = *d.rx_counters[w.index];
    add(c.packets, n);
    add(c.bytes, n_bytes);
    add(c.errors, n_dropped);
  }
  return found;
}

}  // namespace loom::tap
