// DriverOps::rx of a host interface: packets out of the ring of a packet socket, and those that are
// longer than a slot by a recvmsg each, into buffers that are already there.
//   in    packets of the kernel's interface, each behind a virtio-net header, up to 64 KB (GRO, or
//         GSO of the other end of a veth); a VLAN tag comes beside the packet
//   out   ethernet-input | drop (header and packet contradict each other, or it is inside a tunnel)
//   cost  tests/bench/packet_sockets. Up to 1.9 KB: a copy, and no system call. Above: one system
//         call and the kernel's copy, like a TAP; so is all where there is no ring (rx_ring.h)
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>

#include <hostloom/buffer_chain.h>
#include <hostloom/rx_frame.h>
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
    {"unsupported", Severity::kError,
     "large packets inside tunnels, or that the kernel cannot describe"},
    {"socket-full", Severity::kError, "large packets that the socket's queue had no room for"},
    {"no-buffers", Severity::kWarn, "calls that ended early because the pool was empty"},
    {"host-down", Severity::kInfo, "times that the host's interface went down or away"},
    {"read-failed", Severity::kError, "reads that failed, other than by finding nothing"},
};

using Tag = std::pair<uint16_t, uint16_t>;  // type, TCI

// The tag that the kernel has taken out of a packet that was read.
std::optional<Tag> tag_of(msghdr& m) noexcept {
  const cmsghdr* c = CMSG_FIRSTHDR(&m);
  if (!c || c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
      c->cmsg_len < CMSG_LEN(sizeof(tpacket_auxdata)))
    return {};
  const auto* aux = reinterpret_cast<const tpacket_auxdata*>(CMSG_DATA(c));
  if (!(aux->tp_status & TP_STATUS_VLAN_VALID)) return {};
  return Tag{aux->tp_status & TP_STATUS_VLAN_TPID_VALID ? aux->tp_vlan_tpid : kEtherTypeVlan,
             aux->tp_vlan_tci};
}

// What comes of one slot. A packet without a buffer is dropped.
struct Taken {
  enum class Then : uint8_t {
    kNext,  // the slot is done with
    kAgain,
    kStop,   // it stays, for the next call
    kEmpty,  // nothing is in the socket's queue
  };
  Then then = Then::kNext;
  RxCounter why = kReadFailed;  // of one without a buffer
  uint32_t spent = 0;           // bytes that the kernel has copied for it
  Buffer* packet = nullptr;
  VnetHeader header;
  std::optional<Tag> tag;
};

Taken dropped(RxCounter why, uint32_t spent = 0) noexcept {
  return {.why = why, .spent = spent, .header = {}, .tag = {}};
}

Taken copy(Worker& w, NodeRuntime& rt, const Slot& slot) noexcept {
  if (slot.bytes.size() < sizeof(EthernetHeader)) [[unlikely]]
    return dropped(kRunt);
  BufferChain chain(w);
  if (!chain.append(slot.bytes.data(), static_cast<uint32_t>(slot.bytes.size()))) [[unlikely]] {
    rt.count(kNoBuffers);  // it stays where it is; what arrives goes on filling the ring
    return {.then = Taken::Then::kStop, .header = {}, .tag = {}};
  }
  return {.packet = chain.take(), .header = slot.header, .tag = slot.tag};
}

// Of a packet that is in the socket's queue.
Taken note_failure(NodeRuntime& rt, int err) noexcept {
  switch (err) {
    case EAGAIN:
      return {.then = Taken::Then::kEmpty, .header = {}, .tag = {}};
    case EINTR:
      return {.then = Taken::Then::kAgain, .header = {}, .tag = {}};
    case ENETDOWN:  // news that came before the packet, once
      rt.count(kHostDown);
      return {.then = Taken::Then::kAgain, .header = {}, .tag = {}};
    case EINVAL:  // the kernel has no words for it in the header, and has let it go
      return dropped(kUnsupported);
    default:
      return dropped(kReadFailed);
  }
}

Taken read(Worker& w, NodeRuntime& rt, RxQueue& q) noexcept {
  if (!q.buffers.refill(w)) [[unlikely]] {
    rt.count(kNoBuffers);
    return {.then = Taken::Then::kStop, .header = {}, .tag = {}};
  }
  Taken t;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(tpacket_auxdata))];
  const auto iov = q.buffers.iov(&t.header, kVnetSize);
  msghdr m{};
  m.msg_iov = iov.data();
  m.msg_iovlen = iov.size();
  m.msg_control = control;
  m.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(q.socket.get(), &m, 0);
  if (got < 0) [[unlikely]]
    return note_failure(rt, errno);
  // In both cases the buffers are not used up.
  if (got < static_cast<ssize_t>(kVnetSize + sizeof(EthernetHeader))) [[unlikely]]
    return dropped(kRunt);
  const uint32_t length = static_cast<uint32_t>(got) - kVnetSize;
  if (m.msg_flags & MSG_TRUNC || length > q.buffers.capacity()) [[unlikely]]
    return dropped(kTooLong, length);
  t.packet = q.buffers.take(length);
  t.tag = tag_of(m);
  return t;
}

Taken take(Worker& w, NodeRuntime& rt, RxQueue& q) noexcept {
  if (!q.ring) return read(w, rt, q);
  q.ring.prefetch_next();
  const Slot slot = q.ring.look();
  switch (slot.kind) {
    case Slot::Kind::kWhole:
      return copy(w, rt, slot);
    case Slot::Kind::kInQueue: {
      const Taken t = read(w, rt, q);
      return t.then == Taken::Then::kEmpty ? dropped(kReadFailed) : t;
    }
    case Slot::Kind::kCut:
      return dropped(kSocketFull);
    case Slot::Kind::kBad:
      break;
  }
  return dropped(kReadFailed);
}

bool may_take(const RxQueue& q, const RxFrame& frame) noexcept {
  if (!q.ring) return q.budget.has_room(frame.n_found(), frame.n_spent());
  return frame.has_room() && frame.n_spent() < RxBudget::kMaxBytes && q.ring.is_filled();
}

// An error that waits in a socket, that its interface went down, makes it ready for ever: it has to
// be fetched. Not by every call, as a worker with other work to do makes many, nor of a queue that
// is polled: nobody sleeps there.
void fetch_error(NodeRuntime& rt, RxQueue& q) noexcept {
  if (q.is_polled.load(std::memory_order_relaxed) || ++q.n_empty % 32 != 0) return;
  int err = 0;
  socklen_t size = sizeof err;
  if (getsockopt(q.socket.get(), SOL_SOCKET, SO_ERROR, &err, &size) == 0 && err != 0)
    rt.count(err == ENETDOWN ? kHostDown : kReadFailed);
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
  RxFrame frame(rt, d.index);
  bool is_empty = false;
  while (may_take(q, frame)) {
    const Taken t = take(w, rt, q);
    is_empty = t.then == Taken::Then::kEmpty;
    if (is_empty || t.then == Taken::Then::kStop) break;
    if (t.then == Taken::Then::kAgain) continue;
    if (q.ring) q.ring.give_back();
    if (!t.packet) [[unlikely]] {
      frame.drop(t.why, t.spent);
      continue;
    }
    Buffer& b = *t.packet;
    if (const auto v = vnet_apply_received(t.header, b, /*takes_udp=*/true);
        v != VnetVerdict::kGood) [[unlikely]] {
      frame.drop(b, v == VnetVerdict::kMalformed ? kMalformed : kUnsupported, kToDrop);
      continue;
    }
    if (t.tag) restore_vlan_tag(b, t.tag->first, t.tag->second);
    frame.add(b);
  }

  if (!q.ring) q.budget.note(frame.n_found(), is_empty);
  if (frame.n_good() != 0) rt.count(kReceived, frame.n_good());
  if (frame.n_found() == 0) fetch_error(rt, q);
  return frame.hand_on(kToEthernet, d.rx_totals);
}

}  // namespace loom::af_packet
