// DriverOps::tx: the buffers of a packet go to the driver as the mbufs in front of them.
//
// Bytes of an application's fifo stay where they are with drivers that copy before they return;
// others hand addresses to a device or another process, which knows our buffers only: for them
// these bytes are copied into buffers. A packet that the driver does not take becomes a packet of
// ours again.
#include <array>

#include <hostloom/buffer_chain.h>

#include "device.h"
#include "mbuf.h"

namespace loom::dpdk {
namespace {

constexpr uint32_t kBatch = 64;  // packets of a call to the driver

void count(std::atomic<uint64_t>& counter, uint64_t n = 1) noexcept {
  counter.fetch_add(n, std::memory_order_relaxed);
}

// The mbuf refers to the bytes that its buffer refers to, an application's. Its callback does
// nothing: the bytes are let go with the buffer, when the mbuf comes back (mempool.cc).
void refer(Worker& w, Buffer& b, rte_mbuf& m) noexcept {
  rte_mbuf_ext_shared_info* note = note_of(&b);
  note->free_cb = [](void*, void*) {};
  note->fcb_opaque = &w;
  rte_mbuf_ext_refcnt_set(note, 1);
  rte_pktmbuf_attach_extbuf(&m, b.data, reinterpret_cast<uintptr_t>(b.data),
                            static_cast<uint16_t>(b.len), note);
}

// The mbufs are what they are in the pool again; the packet is untouched.
void undo(Buffer& packet) noexcept {
  for (Buffer* b = &packet; b; b = b->next) {
    rte_mbuf* m = mbuf_of(b);
    if (RTE_MBUF_HAS_EXTBUF(m)) rte_pktmbuf_detach(m);
    m->shinfo = nullptr;
    m->next = nullptr;
    m->nb_segs = 1;
  }
}

// What stands behind the packet's first segment becomes bytes in buffers of ours.
bool copy_rest(Worker& w, Buffer& packet) noexcept {
  BufferChain chain(w);
  for (const Buffer* b = packet.next; b; b = b->next)
    if (!chain.append(b->data, b->len)) return false;
  w.free(packet.next);
  packet.next = chain.take();
  if (packet.next) packet.next->rest_len = 0;  // is the first segment's
  return true;
}

struct Shape {
  uint32_t n_segments = 0;
  bool has_external = false, has_empty = false, is_too_long = false;
};
Shape shape_of(const Buffer& packet) noexcept {
  Shape s;
  for (const Buffer* b = &packet; b; b = b->next) {
    ++s.n_segments;
    s.has_external |= b->is_external();
    s.has_empty |= b->len == 0;
    s.is_too_long |= b->len > 0xffff;
  }
  return s;
}

// What the mbuf says of where the bytes are.
void point_at(rte_mbuf& m, const Buffer& b) noexcept {
  m.data_off = static_cast<uint16_t>(b.data - b.start());
  m.data_len = static_cast<uint16_t>(b.len);
}

// Most packets: one segment of ours, to be sent as it is. Touches the first lines only.
bool make_plain(Buffer& b) noexcept {
  const bool is_plain =
      !b.next && !b.is_external() && is_finished(b) && b.len != 0 && b.len <= 0xffff;
  if (!is_plain) [[unlikely]]
    return false;
  rte_mbuf& m = *mbuf_of(&b);
  m.ol_flags = 0;
  point_at(m, b);
  m.pkt_len = b.len;
  return true;
}

// Makes any packet one of mbufs. False: it cannot be sent, and why is counted.
[[gnu::noinline]] bool make(Worker& w, Device& d, Buffer& packet) noexcept {
  TxCounters& c = d.tx_counters;
  rte_mbuf* m = mbuf_of(&packet);
  const bool is_plain = !packet.next && !packet.is_external();
  if (!is_plain) {
    const Shape s = shape_of(packet);
    const uint32_t most = packet.gso_size != 0 ? d.most_segments : d.most_mtu_segments;
    if (s.is_too_long || packet.is_external() || packet.len == 0) [[unlikely]] {
      count(c.bad_offsets);
      return false;
    }
    // Empty segments are no descriptors of any device's.
    if ((s.has_external && !d.traits.copies_at_once) || s.n_segments > most || s.has_empty) {
      if (!copy_rest(w, packet)) {
        count(c.no_buffers);
        return false;
      }
      count(c.copied);
      if (shape_of(packet).n_segments > most) [[unlikely]] {
        count(c.too_many_segments);
        return false;
      }
    }
  }
  if (!describe_to_send(packet, *m)) [[unlikely]] {
    count(c.bad_offsets);
    return false;
  }
  point_at(*m, packet);
  m->pkt_len = packet.length();
  if (is_plain) [[likely]]
    return true;
  uint16_t n = 1;
  rte_mbuf* last = m;
  for (Buffer* b = packet.next; b; b = b->next, ++n) {
    rte_mbuf* s = mbuf_of(b);
    s->ol_flags = 0;
    if (b->is_external())
      refer(w, *b, *s);  // from its first byte
    else
      s->data_off = static_cast<uint16_t>(b->data - b->start());
    s->data_len = static_cast<uint16_t>(b->len);
    last->next = s;
    last = s;
  }
  m->nb_segs = n;
  return true;
}

// Packets as mbufs, in order.
struct Batch {
  std::array<rte_mbuf*, kBatch> mbufs;
  uint32_t n = 0;
  bool wants_offload = false;
};

// Gives the batch to the driver; returns how many of it are done with, sent or refused.
uint32_t send(Worker& w, Device& d, uint16_t queue, Batch& batch) noexcept {
  const BurstPass pass(d.gate, w.index);
  if (!pass) [[unlikely]]
    return 0;
  uint32_t at = 0;
  while (at < batch.n) {
    auto n = static_cast<uint16_t>(batch.n - at);
    if (batch.wants_offload) n = rte_eth_tx_prepare(d.port, queue, &batch.mbufs[at], n);
    const uint16_t sent = n == 0 ? 0 : rte_eth_tx_burst(d.port, queue, &batch.mbufs[at], n);
    at += sent;
    if (sent < n) return at;
    if (at == batch.n) break;
    Buffer* refused = buffer_of(batch.mbufs[at]);
    undo(*refused);
    w.free(refused);
    count(d.tx_counters.refused);
    ++at;
  }
  return at;
}

}  // namespace

uint32_t tx(Worker& w, void* device, uint16_t queue, std::span<Buffer* const> packets) noexcept {
  Device& d = *static_cast<Device*>(device);
  if (!d.is_started.load(std::memory_order_acquire)) [[unlikely]] {
    count(d.tx_counters.stopped, packets.size());
    w.free(packets);
    return static_cast<uint32_t>(packets.size());
  }
  calling_worker = &w;
  uint32_t done = 0;
  while (done < packets.size()) {
    Batch batch;
    Buffer* bad = nullptr;
    uint32_t end = done;
    // Up to the first that cannot be sent; that one waits until those before it have left.
    for (; end < packets.size() && batch.n < kBatch; ++end) {
      if (end + kPrefetchAhead < packets.size()) {
        packets[end + kPrefetchAhead]->prefetch();
        prefetch_mbuf(packets[end + kPrefetchAhead]);
      }
      Buffer& b = *packets[end];
      if (!make_plain(b)) [[unlikely]] {
        if (!make(w, d, b)) [[unlikely]] {
          bad = &b;
          break;
        }
        batch.wants_offload |= (mbuf_of(&b)->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) != 0;
      }
      batch.mbufs[batch.n++] = mbuf_of(&b);
    }
    const uint32_t sent = send(w, d, queue, batch);
    done += sent;
    if (sent < batch.n) {  // the ring is full
      for (uint32_t i = sent; i < batch.n; ++i) undo(*buffer_of(batch.mbufs[i]));
      count(d.tx_counters.ring_full, packets.size() - done);
      break;
    }
    if (bad) [[unlikely]] {
      w.free(bad);
      ++done;
    }
  }
  return done;
}

}  // namespace loom::dpdk
