// DriverOps::rx of a host interface: packets out of the ring of a packet socket, and those that are
// longer than a slot by a recvmsg each, into buffers that are already there.
//   in    packets of the kernel's interface, each behind a virtio-net header, up to 64 KB (GRO, or
//         GSO of the other end of a veth); a VLAN tag comes beside the packet
//   out   ethernet-input | drop (header and packet contradict each other, or it is inside a tunnel)
//   cost  tests/bench/packet_sockets. Up to 1.9 KB: a copy, and no system call. Above: one system
//         call and the kernel's copy, like a TAP; so is all where there is no ring (rx_ring.h)
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>

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

// Puts a tag back behind the addresses. Offsets that are noted already stay right: what moves is in
// front of them.
void restore_tag(Buffer& b, const Tag& t) noexcept {
  const struct { Be16 type, tci; } tag{t.first, t.second};
  constexpr std::size_t kAddresses = offsetof(EthernetHeader, type);
  std::byte* at = b.prepend(sizeof tag);
  std::memmove(at, at + sizeof tag, kAddresses);
  std::memcpy(at + kAddresses, &tag, sizeof tag);
}

// What comes of one slot. A packet without a buffer is dropped, for the reason that is counted.
struct Taken {
  enum class Then : uint8_t {
    kNext,  // the slot is done with
    kAgain,
    kStop,   // it stays, for the next call
    kEmpty,  // nothing is in the socket's queue
  };
  Then then = Then::kNext;
  Buffer* packet = nullptr;
  VnetHeader header;
  std::optional<Tag> tag;
};

Taken dropped(NodeRuntime& rt, RxCounter why) noexcept {
  rt.count(why);
  return {};
}

Taken copy(Worker& w, NodeRuntime& rt, const Slot& slot) noexcept {
  if (slot.bytes.size() < sizeof(EthernetHeader)) [[unlikely]]
    return dropped(rt, kRunt);
  Buffer* first = nullptr;
  Buffer* last = nullptr;
  for (auto rest = slot.bytes; !rest.empty();) {
    Buffer* b = w.alloc();
    if (!b) [[unlikely]] {
      if (first) w.free(first);
      rt.count(kNoBuffers);  // it stays where it is; what arrives goes on filling the ring
      return {.then = Taken::Then::kStop, .header = {}, .tag = {}};
    }
    const auto n = static_cast<uint32_t>(std::min<std::size_t>(rest.size(), b->data_size));
    std::memcpy(b->append(n), rest.data(), n);
    rest = rest.subspan(n);
    if (first) {
      last->next = b;
      first->rest_len += n;
    } else {
      first = b;
    }
    last = b;
  }
  return {.packet = first, .header = slot.header, .tag = slot.tag};
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
      return dropped(rt, kUnsupported);
    default:
      return dropped(rt, kReadFailed);
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
    return dropped(rt, kRunt);
  const uint32_t length = static_cast<uint32_t>(got) - kVnetSize;
  if (m.msg_flags & MSG_TRUNC || length > q.buffers.capacity()) [[unlikely]]
    return dropped(rt, kTooLong);
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
      return t.then == Taken::Then::kEmpty ? dropped(rt, kReadFailed) : t;
    }
    case Slot::Kind::kCut:
      return dropped(rt, kSocketFull);
    case Slot::Kind::kBad:
      break;
  }
  return dropped(rt, kReadFailed);
}

bool may_take(const RxQueue& q, uint32_t n_packets, uint32_t n_bytes) noexcept {
  if (!q.ring) return q.budget.has_room(n_packets, n_bytes);
  return n_packets < kFrameSize && n_bytes < RxBudget::kMaxBytes && q.ring.is_filled();
}

// An error that waits in a socket, that its interface went down, makes it ready for ever: it has to
// be fetched. Not by every call, as who polls makes many.
void fetch_error(NodeRuntime& rt, RxQueue& q) noexcept {
  if (++q.n_empty % 32 != 0) return;
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
  std::array<Buffer*, kFrameSize> packets;
  uint32_t n = 0, n_bytes = 0, n_dropped = 0;
  bool is_empty = false;
  while (may_take(q, n + n_dropped, n_bytes)) {
    const Taken t = take(w, rt, q);
    is_empty = t.then == Taken::Then::kEmpty;
    if (is_empty || t.then == Taken::Then::kStop) break;
    if (t.then == Taken::Then::kAgain) continue;
    if (q.ring) q.ring.give_back();
    Buffer* b = t.packet;
    if (!b) [[unlikely]] {
      ++n_dropped;
      continue;
    }
    b->rx_if = d.index;
    if (const auto v = vnet_apply_received(t.header, *b, /*takes_udp=*/true);
        v != VnetVerdict::kGood) [[unlikely]] {
      const RxCounter why = v == VnetVerdict::kMalformed ? kMalformed : kUnsupported;
      rt.count(why);
      rt.set_error(*b, why);
      rt.enqueue_all({&b, 1}, kToDrop);
      ++n_dropped;
      continue;
    }
    if (t.tag) restore_tag(*b, *t.tag);
    n_bytes += b->length();
    packets[n++] = b;
  }

  const uint32_t found = n + n_dropped;
  if (!q.ring) q.budget.note(found, is_empty);
  if (n != 0) {
    rt.count(kReceived, n);
    rt.enqueue_all({packets.data(), n}, kToEthernet);
  }
  if (found != 0)
    d.rx_totals.add(w.index, n, n_bytes, n_dropped);
  else
    fetch_error(rt, q);
  return found;
}

}  // namespace loom::af_packet
