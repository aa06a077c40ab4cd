// DriverOps::rx: bursts of mbufs, which are our buffers (mempool.h).
//   in    packets of a port of DPDK's, data at the Ethernet header; a VLAN tag that the device has
//         taken out comes beside the packet
//   out   ethernet-input | drop (the packet contradicts itself)
//   cost  tests/bench/dpdk. What is said of the packet is written once more; its bytes are not
//         touched. Copied are packets that lie in memory of a driver's own, or that it keeps, and
//         odd chains
#include <sys/epoll.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include <hostloom/buffer_chain.h>
#include <hostloom/rx_frame.h>

#include "device.h"
#include "mbuf.h"

namespace loom::dpdk {
namespace {

enum Next : uint16_t { kToEthernet, kToDrop };
constexpr CounterInfo kCounters[kRxCounterCount] = {
    {"received", Severity::kInfo, "packets handed to ethernet-input where they lay"},
    {"copied", Severity::kInfo, "packets handed to ethernet-input that lay in no buffers of ours"},
    {"malformed", Severity::kError, "lengths or offloads contradict the packet"},
    {"runt", Severity::kError, "shorter than an Ethernet header"},
    {"no-buffers", Severity::kWarn, "packets to copy, but the pool was empty"},
};

constexpr uint32_t kMostPacket = 65535 + sizeof(EthernetHeader) + 2 * sizeof(VlanTag);
constexpr uint32_t kMostSegments = 512;
constexpr uint32_t kLeastFirst = 128;  // of a packet that is longer, in its first segment
// Packets of a call to the driver: what is said of them twice is still in the nearest cache then.
constexpr uint32_t kBurst = 64;
// Many drivers give no more than so many at once, however many wait.
constexpr uint32_t kLeastOfMore = 32;

// Whether the packet is a chain of at most so many segments with bytes where it says; what they are
// together is its length.
bool is_sound(const rte_mbuf& m) noexcept {
  uint32_t length = 0, n = 0;
  const rte_mbuf* s = &m;
  for (; s && n < kMostSegments; s = s->next, ++n) {
    if (uint32_t{s->data_off} + s->data_len > s->buf_len) return false;
    length += s->data_len;
  }
  return !s && n == m.nb_segs && length == m.pkt_len && length <= kMostPacket;
}

// Whether each segment is a buffer of ours with its bytes in it, and nobody else's at the same
// time, and the first has headers enough.
bool is_ours(const Mempools& pools, const rte_mbuf& m) noexcept {
  for (const rte_mbuf* s = &m; s; s = s->next)
    if (!pools.owns(s) || !RTE_MBUF_DIRECT(s) || rte_mbuf_refcnt_read(s) != 1) return false;
  return m.data_len >= std::min(m.pkt_len, kLeastFirst);
}

// The mbufs become what they are in the pool; the packet is a chain of buffers.
Buffer* take(rte_mbuf* m) noexcept {
  Buffer* first = buffer_of(m);
  first->reset();
  first->data = first->start() + m->data_off;
  first->len = m->data_len;
  if (m->nb_segs == 1) [[likely]]
    return first;
  first->rest_len = m->pkt_len - m->data_len;
  m->nb_segs = 1;
  Buffer* last = first;
  for (rte_mbuf* s = std::exchange(m->next, nullptr); s;) {
    rte_mbuf* rest = std::exchange(s->next, nullptr);
    s->nb_segs = 1;
    Buffer* b = buffer_of(s);
    b->reset();
    b->data = b->start() + s->data_off;
    b->len = s->data_len;
    last->next = b;
    last = b;
    s = rest;
  }
  return first;
}

// A copy in buffers of ours; the packet stays. Null: there are not enough.
Buffer* copy(Worker& w, const rte_mbuf& m) noexcept {
  BufferChain chain(w);
  for (const rte_mbuf* s = &m; s; s = s->next)
    if (!chain.append(rte_pktmbuf_mtod(s, const std::byte*), s->data_len)) return nullptr;
  return chain.take();
}

// Flags of packets that want another look: whose bytes are not the mbuf's own, whose tag was taken
// out, that were merged, or whose transport's checksum is bad or was never made.
constexpr uint64_t kOdd = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_RX_VLAN_STRIPPED |
                          RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_BAD;

// Most packets: one segment, a buffer of the device's own pool, nobody else's at the same time, and
// as long as it says. Looks at the mbuf's first line only.
bool is_plain(const Device& d, const rte_mbuf& m) noexcept {
  return m.pool == d.pool && m.nb_segs == 1 && rte_mbuf_refcnt_read(&m) == 1 &&
         !(m.ol_flags & kOdd) && m.pkt_len == m.data_len && m.data_len >= sizeof(EthernetHeader) &&
         uint32_t{m.data_off} + m.data_len <= m.buf_len;
}

// One of those: its mbuf is as in the pool.
Buffer& take_plain(const Device& d, rte_mbuf* m) noexcept {
  Buffer* b = buffer_of(m);
  std::memcpy(static_cast<void*>(b), &d.fresh, offsetof(Buffer, opaque));
  b->data = b->start() + m->data_off;
  b->len = m->data_len;
  b->flags = received_checksums(m->ol_flags);
  return *b;
}

struct Received {
  RxCounter counter;
  Buffer* packet;  // null: it is dropped, and its mbufs are freed already
};

// Any packet.
[[gnu::noinline]] Received receive(Worker& w, const Device& d, rte_mbuf* m) noexcept {
  const bool is_single = m->nb_segs == 1 && m->pkt_len == m->data_len;
  if (is_single ? uint32_t{m->data_off} + m->data_len > m->buf_len : !is_sound(*m)) [[unlikely]] {
    rte_pktmbuf_free(m);  // lengths are the device's, but the chain itself is the driver's
    return {kMalformed, nullptr};
  }
  if (m->pkt_len < sizeof(EthernetHeader)) [[unlikely]] {
    rte_pktmbuf_free(m);
    return {kRunt, nullptr};
  }
  if (is_ours(*d.mempools, *m)) [[likely]] {
    const uint64_t flags = m->ol_flags;
    const uint16_t tci = m->vlan_tci;
    Buffer* b = take(m);
    if (!apply_received(*m, *b)) [[unlikely]]
      return {kMalformed, b};
    if (flags & RTE_MBUF_F_RX_VLAN_STRIPPED) [[unlikely]]
      restore_vlan_tag(*b, kEtherTypeVlan, tci);
    return {kReceived, b};
  }
  Buffer* b = copy(w, *m);
  RxCounter counter = b ? kCopied : kNoBuffers;
  if (b && !apply_received(*m, *b)) counter = kMalformed;
  if (counter == kCopied && m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED)
    restore_vlan_tag(*b, kEtherTypeVlan, m->vlan_tci);
  rte_pktmbuf_free(m);
  return {counter, b};
}

// The queue was empty: from now on a packet makes its descriptor readable. True: look once more, as
// one may have come before that. An interrupt that has fired for nothing is off again with many
// devices: it is taken note of first, then enabled. Until then it stays readable, so that the
// worker does not sleep. A queue that is polled asks nothing of the kernel.
bool arm(const Device& d, uint16_t queue, RxQueue& q) noexcept {
  if (q.is_polled.load(std::memory_order_relaxed) || !q.ready) {
    q.n_empty = 0;
    return false;
  }
  const bool is_first = q.n_empty++ % 32 == 0;  // a worker with other work to do calls often
  if (!is_first) return false;
  if (!q.is_edge && !q.needs_arming) return false;
  epoll_event event;
  const bool has_fired = !q.is_edge || ::epoll_wait(q.ready.get(), &event, 1, 0) != 0;
  if (q.is_armed && !has_fired) return false;  // it is still to fire: the worker polls
  if (q.needs_arming) {
    q.is_armed = true;
    (void)rte_eth_dev_rx_intr_enable(d.port, queue);
  }
  return true;
}

void prefetch(const rte_mbuf* m) noexcept {
  __builtin_prefetch(m);
  __builtin_prefetch(m + 1, 1);  // the Buffer, of two lines
  __builtin_prefetch(reinterpret_cast<const std::byte*>(m + 1) + kCacheLine, 1);
}

uint16_t burst(const Worker& w, const Device& d, uint16_t queue, RxQueue& q,
               std::span<rte_mbuf*> out) noexcept {
  const BurstPass pass(d.gate, w.index);
  if (!pass) [[unlikely]]
    return 0;
  uint16_t n = rte_eth_rx_burst(d.port, queue, out.data(), static_cast<uint16_t>(out.size()));
  if (n == 0 && arm(d, queue, q))
    n = rte_eth_rx_burst(d.port, queue, out.data(), static_cast<uint16_t>(out.size()));
  if (n == 0) return 0;
  q.n_empty = 0;
  if (q.is_armed) {
    q.is_armed = false;
    (void)rte_eth_dev_rx_intr_disable(d.port, queue);
  }
  return n;
}

}  // namespace

// Named for the listing of what the driver does inside the IP layer's polling.
const NodeInfo kInputNode{
    .name = "dpdk-input",
    .run = nullptr,
    .kind = NodeKind::kInput,
    .counters = kCounters,
    .next = {"ethernet-input", "drop"},
};

uint32_t rx(Worker& w, NodeRuntime& rt, void* device, uint16_t queue) noexcept {
  Device& d = *static_cast<Device*>(device);
  RxQueue& q = *d.queues[queue];
  if (!d.is_started.load(std::memory_order_acquire) ||
      !d.has_totals.load(std::memory_order_relaxed)) [[unlikely]]
    return 0;
  if (q.worker.load(std::memory_order_relaxed) != w.index) [[unlikely]]
    q.worker.store(w.index, std::memory_order_relaxed);
  calling_worker = &w;
  RxFrame frame(rt, d.index);
  uint32_t n_copied = 0;
  while (frame.has_room(kBurst)) {
    std::array<rte_mbuf*, kBurst> mbufs;
    const uint32_t n = burst(w, d, queue, q, mbufs);
    for (uint32_t i = 0; i < n; ++i) {
      if (i + kPrefetchAhead < n) prefetch(mbufs[i + kPrefetchAhead]);
      if (is_plain(d, *mbufs[i])) [[likely]] {
        frame.add(take_plain(d, mbufs[i]), mbufs[i]->data_len);
        continue;
      }
      const Received r = receive(w, d, mbufs[i]);
      if (r.counter == kReceived || r.counter == kCopied) [[likely]] {
        n_copied += r.counter == kCopied;
        frame.add(*r.packet);
      } else if (r.packet) {
        frame.drop(*r.packet, r.counter, kToDrop);
      } else {
        frame.drop(r.counter);
      }
    }
    if (n < kLeastOfMore) break;
  }
  if (frame.n_good() != 0) rt.count(kReceived, frame.n_good() - n_copied);
  if (n_copied != 0) [[unlikely]]
    rt.count(kCopied, n_copied);
  return frame.hand_on(kToEthernet, d.rx_totals);
}

}  // namespace loom::dpdk
