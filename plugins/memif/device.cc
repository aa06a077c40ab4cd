// The driver's functions that run on workers. No system calls but the ones that wake, and are woken
// by, a peer that sleeps.
#include "device.h"

#include <algorithm>

#include "memifs.h"

namespace loom::memif {
namespace {

enum Next : uint16_t { kToEthernet, kToIp4, kToIp6 };

constexpr CounterInfo kCounters[kRxCounterCount] = {
    {"received", Severity::kInfo, "packets handed to ethernet-input, ip4-input or ip6-input"},
    {"joined", Severity::kInfo, "TCP segments that were appended to the packet before"},
    {"runt", Severity::kError, "shorter than an Ethernet header, or empty"},
    {"too-long", Severity::kError, "longer than 65,535 bytes behind the Ethernet header"},
    {"bad-version", Severity::kError, "in mode ip, neither IPv4 nor IPv6"},
    {"no-buffers", Severity::kWarn, "calls that left packets in the ring: the pool was empty"},
    {"bad-cursor", Severity::kError, "ends the link: the peer's cursor is beyond the ring"},
    {"bad-chain", Severity::kError,
     "ends the link: a packet goes on where there is nothing, or changes while it is copied"},
    {"bad-region", Severity::kError, "ends the link: a descriptor of an unknown region"},
    {"bad-range", Severity::kError, "ends the link: a descriptor leads out of its region"},
};

void add(std::atomic<uint64_t>& counter, uint64_t n) noexcept {
  if (n != 0) counter.fetch_add(n, std::memory_order_relaxed);
}

// Once a link: the control thread takes it away.
void fail(Worker& w, Device& d, Fault f) noexcept {
  Fault none = Fault::kNone;
  if (d.fault.compare_exchange_strong(none, f))
    w.post_to_control([](void* memifs) { static_cast<Memifs*>(memifs)->end_faulty_links(); },
                      d.memifs);
}

Link* sound_link(const Device& d) noexcept {
  Link* link = d.link.load(std::memory_order_acquire);
  return link && d.fault.load(std::memory_order_relaxed) == Fault::kNone ? link : nullptr;
}

// Counts what a call found; returns how many packets were dropped.
uint32_t note(Worker& w, NodeRuntime& rt, Device& d, const Taken& all,
              const RxCounts& counts) noexcept {
  uint32_t dropped = 0;
  for (uint16_t c = 0; c < kRxCounterCount; ++c) {
    if (counts[c] == 0) continue;
    rt.count(c, counts[c]);
    if (c != kReceived && c != kJoined && c != kNoBuffers) dropped += counts[c];
  }
  d.rx_totals.add(w.index, all.n, all.bytes, dropped);
  return dropped;
}

// Has the peers of a queue's rings wake us. False: a packet came meanwhile, and the queue goes on
// being polled. Not all peers put a barrier between publishing a packet and looking whether we
// sleep: one that has seen no need to wake us shows its packet within the time that is waited here.
constexpr int kLooks = 16;  // with a pause in between: about a microsecond

template <class F>
bool arm(F&& each_ring) noexcept {
  bool is_new = false, is_empty = true;
  each_ring([&](RxRing& r) {
    if (r.is_masked) r.set_masked(false), is_new = true;
  });
  for (int i = 0; is_empty && i < (is_new ? kLooks : 1); ++i) {
    __builtin_ia32_pause();
    each_ring([&](RxRing& r) { is_empty &= r.ready() == 0; });
  }
  return is_empty;
}

void note(Worker& w, Device& d, const Put& done) noexcept {
  add(d.tx_counters.too_long, done.too_long);
  add(d.tx_counters.bad_headers, done.bad_headers);
  if (done.fault == Fault::kNone) [[likely]]
    return;
  add(d.tx_counters.faults[static_cast<std::size_t>(done.fault)], 1);
  fail(w, d, done.fault);
}

// The ring that a worker sends into, for as long as it does: with fewer rings than workers, others
// send into it as well.
class RingLock {
 public:
  RingLock(const Device& d, Link& link, uint16_t queue) noexcept
      : ring_(*link.tx[queue % link.tx.size()]),
        is_shared_(std::min<std::size_t>(link.tx.size(), d.config.n_tx_queues) <
                   std::max<std::size_t>(d.backlogs.size(), d.config.n_tx_queues)) {
    while (is_shared_ && ring_.is_busy.test_and_set(std::memory_order_acquire))
      __builtin_ia32_pause();
  }
  RingLock(const RingLock&) = delete;
  ~RingLock() {
    if (is_shared_) ring_.is_busy.clear(std::memory_order_release);
  }
  TxRing& operator*() const noexcept { return ring_; }

 private:
  TxRing& ring_;
  const bool is_shared_;
};

// What came of those that wait.
struct Front {
  bool has_moved = false;
  bool has_more = false;  // for which there may be room: they are left for the next call
  uint64_t bytes = 0;     // that the call may still send
};

// What waits goes first. A call sends 256 KB at most, and of what waits a frame, as other workers
// wait for the ring meanwhile, and this one for its other work.
Front send_front(Worker& w, Device& d, const Link& link, TxRing& ring, Backlog& waiting) noexcept {
  uint32_t packets = kFrameSize;
  uint64_t bytes = RxBudget::kMaxBytes;
  bool is_full = false, has_moved = false;
  while (!waiting.is_empty() && !is_full && packets != 0 && bytes != 0) {
    const auto front = waiting.front();
    const auto some = front.first(std::min<std::size_t>(front.size(), packets));
    const Put done = put(link, ring, some, bytes);
    note(w, d, done);
    waiting.pop(w, done.n);
    packets -= done.n;
    has_moved |= done.n != 0 || done.bytes != 0;
    is_full = done.n != some.size() && done.bytes < bytes;
    bytes -= std::min(bytes, done.bytes);
  }
  return {.has_moved = has_moved, .has_more = !waiting.is_empty() && !is_full, .bytes = bytes};
}

void drop_if_stopped(Worker& w, Device& d, bool has_moved, uint16_t cursor) noexcept {
  Backlog& waiting = *d.backlogs[w.index];
  if (waiting.gives_up(w, has_moved, cursor)) [[unlikely]]
    add(d.tx_counters.stopped, waiting.drop(w));
}

bool has_buffers(Worker& w) noexcept {
  Buffer* b = w.alloc();
  if (b) w.free(b);
  return b != nullptr;
}

// There is no link, or it ends: what is to be sent, and what waits, is lost.
void lose(Worker& w, Device& d, std::span<Buffer* const> packets) noexcept {
  w.free(packets);
  add(d.tx_counters.no_peer, packets.size() + d.backlogs[w.index]->drop(w));
}

void hand_on(NodeRuntime& rt, const Link& link, std::span<Buffer* const> packets) noexcept {
  if (link.is_ethernet) return rt.enqueue_all(packets, kToEthernet);
  std::array<uint16_t, kFrameSize> next;
  for (std::size_t i = 0; i < packets.size(); ++i)
    next[i] = static_cast<uint8_t>(*packets[i]->data) >> 4 == 4 ? kToIp4 : kToIp6;
  rt.enqueue(packets, next.data());
}

}  // namespace

const NodeInfo kInputNode{
    .name = "memif-input",
    .run = nullptr,  // named for the listing of what the driver does inside interface-input
    .kind = NodeKind::kInput,
    .counters = kCounters,
    .next = {"ethernet-input", "ip4-input", "ip6-input"},
};

// Polled once its descriptor has become readable, and for as long as it finds packets
// (interface-input); a call that finds none leaves the queue armed, and every 32nd such call takes
// back wake-ups that a worker with other work to do did not need. A queue that is polled is not
// armed, and asks nothing of the kernel.
uint32_t rx(Worker& w, NodeRuntime& rt, void* device, uint16_t queue) noexcept {
  Device& d = *static_cast<Device*>(device);
  RxQueue& q = *d.queues[queue];
  const bool is_polled = q.is_polled.load(std::memory_order_relaxed);
  if (q.is_armed && !is_polled && q.n_calls++ % 32 == 0) q.ear.consume();
  bool has_more = false;  // to send
  if (!d.backlogs[w.index]->is_empty()) [[unlikely]]
    has_more = send_waiting(w, d);
  Link* link = sound_link(d);
  const auto n_rings = link ? static_cast<uint32_t>(link->rx.size()) : 0;
  if (queue >= n_rings) {
    q.is_armed = true;  // for the next link
    return has_more;
  }
  const auto n_queues = static_cast<uint32_t>(d.queues.size());
  const uint32_t mine = (n_rings - queue - 1) / n_queues + 1;  // queue, queue + n_queues, ...
  const auto each_ring = [&](auto&& fn) {
    for (uint32_t i = 0; i < mine; ++i) fn(*link->rx[queue + (q.turn + i) % mine * n_queues]);
  };
  std::array<Buffer*, kFrameSize> packets;
  RxCounts counts{};
  RxWork work;
  Taken all;
  each_ring([&](RxRing& ring) {
    if (all.fault != Fault::kNone || !work.is_left()) return;
    const Taken taken = take(w, *link, ring, std::span(packets).subspan(all.n), work, counts);
    all.n += taken.n;
    all.bytes += taken.bytes;
    all.fault = taken.fault;
    if (taken.n != 0 && !ring.is_masked) ring.set_masked(true);
  });
  ++q.turn;
  const uint32_t dropped = note(w, rt, d, all, counts);
  if (all.fault != Fault::kNone) [[unlikely]]
    fail(w, d, all.fault);
  for (uint32_t i = 0; i < all.n; ++i) packets[i]->rx_if = d.index;
  if (all.n != 0) hand_on(rt, *link, {packets.data(), all.n});
  const uint32_t found = all.n + dropped;
  if (found != 0) {
    q.is_armed = false;
    return found;
  }
  if (is_polled) {
    q.is_armed = false;
    return has_more;
  }
  if (!q.is_armed) {
    q.is_armed = true;
    q.n_calls = 0;
  }
  // What came meanwhile is one more round's work.
  return (arm(each_ring) || all.fault != Fault::kNone) && !has_more ? 0 : 1;
}

uint32_t tx(Worker& w, void* device, uint16_t queue, std::span<Buffer* const> packets) noexcept {
  Device& d = *static_cast<Device*>(device);
  Backlog& waiting = *d.backlogs[w.index];
  Link* link = sound_link(d);
  if (!link) {
    lose(w, d, packets);
    return static_cast<uint32_t>(packets.size());
  }
  waiting.queue = queue;
  Front went;
  Put done;
  uint16_t cursor = 0;
  {
    const RingLock ring(d, *link, queue);
    went = send_front(w, d, *link, *ring, waiting);
    if (waiting.is_empty()) done = put(*link, *ring, packets, went.bytes);
    cursor = (*ring).peer_cursor();
  }
  note(w, d, done);
  drop_if_stopped(w, d, went.has_moved, cursor);
  w.free(packets.first(done.n));
  // For a peer that has stopped, and of a link that ends, nothing is kept.
  const auto rest = packets.subspan(done.n);
  const bool is_kept = waiting.keeps(cursor, went.has_moved || done.n != 0 || done.bytes != 0) &&
                       d.fault.load(std::memory_order_relaxed) == Fault::kNone;
  const uint32_t held = is_kept ? waiting.push(rest) : 0;
  add(d.tx_counters.held, held);
  add(d.tx_counters.ring_full, rest.size() - held);
  const bool is_first = held != 0 && held == waiting.n;
  waiting.wait(w, went.has_moved || is_first);
  return done.n + held;
}

bool send_waiting(Worker& w, Device& d) noexcept {
  Backlog& waiting = *d.backlogs[w.index];
  Link* link = sound_link(d);
  if (!link) {
    lose(w, d, {});
    return false;
  }
  Front went;
  uint16_t cursor = 0;
  {
    const RingLock ring(d, *link, waiting.queue);
    went = send_front(w, d, *link, *ring, waiting);
    cursor = (*ring).peer_cursor();
  }
  drop_if_stopped(w, d, went.has_moved, cursor);
  // Two ends whose pools are in each other's backlogs would wait for ever.
  if (!went.has_moved && !has_buffers(w)) [[unlikely]]
    add(d.tx_counters.no_memory, waiting.drop(w));
  waiting.wait(w, went.has_moved);
  return went.has_more;
}

}  // namespace loom::memif
