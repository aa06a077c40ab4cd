#include "device.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "host_interfaces.h"

namespace loom::af_packet {
namespace {

Result<std::vector<PacketSocket>> open_sockets(const Device& d) {
  std::vector<PacketSocket> sockets;
  for (std::size_t i = 0; i < d.queues.size(); ++i) {
    auto socket = open_packet_socket({.host_index = d.link.index,
                                      .is_qdisc_bypassed = d.config.is_qdisc_bypassed,
                                      .has_ring = d.has_rings});
    if (!socket) return socket.error();
    sockets.push_back(std::move(*socket));
  }
  if (auto ok = join(sockets); !ok) return ok.error();
  return sockets;
}

// A queue whose interface is down wakes nobody: its worker would not read from it, and the socket
// would be ready for ever.
void open_or_shut(RxQueue& q, bool is_open) noexcept {
  epoll_event e{};
  e.events = EPOLLIN;
  if (is_open)
    empty(q.socket.get(), q.ring);
  else
    (void)epoll_ctl(q.ready.get(), EPOLL_CTL_DEL, q.socket.get(), nullptr);
  let_in(q.socket.get(), is_open);
  if (is_open) (void)epoll_ctl(q.ready.get(), EPOLL_CTL_ADD, q.socket.get(), &e);
}

Result<void> open_queues(Device& d) {
  auto sockets = open_sockets(d);
  if (!sockets) return sockets.error();
  for (std::size_t i = 0; i < d.queues.size(); ++i) {
    RxQueue& q = *d.queues[i];
    q.socket = std::move((*sockets)[i].fd);
    q.ring = std::move((*sockets)[i].ring);
    q.ready = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
    if (!q.ready) return error(Status::kIo, std::string("epoll: ") + std::strerror(errno));
  }
  return {};
}

Result<void> attach(HostLinks& links, Device& d) {
  auto link = links.look_at(d.config.host_name);
  if (!link) return link.error();
  d.link = *link;
  // The kernel before 6.13 lets nobody join a fanout group of an interface that is down.
  if (d.link.is_up) return open_queues(d);
  if (auto ok = links.take_up(d.config.host_name); !ok) return ok;
  d.link.is_up = true;
  return open_queues(d);
}

// Else the link stays down, which is shown.
void take_up(Device& d) {
  HostLinks& links = d.all->links();
  if (const auto name = links.name_of(d.link.index)) (void)links.take_up(*name);
}

}  // namespace

Result<std::unique_ptr<Device>> open_device(HostLinks& links, const HostInterfaceConfig& config,
                                            uint16_t n_queues) {
  auto d = std::make_unique<Device>();
  d->config = config;
  d->name = "host-" + config.host_name;
  for (uint16_t i = 0; i < n_queues; ++i) d->queues.push_back(std::make_unique<RxQueue>());
  if (auto ok = attach(links, *d); !ok)
    return error(ok.error().code, d->name + " refused: " + ok.error().message);
  return d;
}

Result<void> reopen(Device& d) {
  auto sockets = open_sockets(d);
  if (!sockets) return sockets.error();
  note_kernel_drops(d);
  int failure = 0;
  d.all->host().with_barrier([&] {
    for (std::size_t i = 0; i < d.queues.size() && failure == 0; ++i) {
      RxQueue& q = *d.queues[i];
      if (d.is_admin_up) open_or_shut(q, false);
      if (dup3((*sockets)[i].fd.get(), q.socket.get(), O_CLOEXEC) < 0) failure = errno;
      if (failure == 0) q.ring = std::move((*sockets)[i].ring);
      if (d.is_admin_up) open_or_shut(q, true);
    }
  });
  if (failure != 0) return error(Status::kIo, std::string("dup3: ") + std::strerror(failure));
  return {};
}

Result<void> look_again(HostLinks& links, Device& d) {
  // By number: it may have been renamed, or another may have its name.
  const auto name = links.name_of(d.link.index);
  const auto link = name ? links.look_at(*name) : Result<HostLink>(name.error());
  const bool is_same = link && link->index == d.link.index;
  const bool is_missing = link || link.error().code == Status::kNotFound;
  if (!is_attached(d.queues[0]->socket.get()) && is_missing) {
    d.link = {};
    return error(Status::kNotFound, "it is gone");
  }
  if (is_same) {
    d.link = *link;
    return {};
  }
  // Renamed in between, if it is attached.
  return is_missing ? error(Status::kInUse, "it is being renamed") : link.error();
}

bool has_ring(const Device& d) noexcept { return d.link.index != 0 && d.queues[0]->ring; }

void note_kernel_drops(Device& d) noexcept {
  for (const auto& q : d.queues) {
    const SocketCounts n = take_counts(q->socket.get());
    q->counts.packets += n.packets;
    q->counts.drops += n.drops;
    d.kernel_drops += n.drops;
  }
}

bool has_stopped_ring(Device& d) {
  note_kernel_drops(d);
  bool is_suspect = false, has_stopped = false;
  const auto takes_nothing = [](const RxQueue& q) {
    return q.ring && q.counts.packets == q.seen.packets && q.counts.drops != q.seen.drops;
  };
  for (const auto& q : d.queues) is_suspect |= takes_nothing(*q);
  if (is_suspect) {
    d.all->host().with_barrier([&] {  // the place in the ring is a worker's
      for (const auto& q : d.queues) has_stopped |= takes_nothing(*q) && !q->ring.is_filled();
    });
  }
  for (const auto& q : d.queues) q->seen = q->counts;
  return has_stopped;
}

// The host's interface is taken up with ours; down it is let be, as others may use it.
Status set_admin(void* device, bool up) noexcept {
  auto& d = *static_cast<Device*>(device);
  if (d.is_admin_up == up) return Status::kOk;
  if (up && d.link.index != 0 && !d.link.is_up) take_up(d);
  d.is_admin_up = up;
  d.all->host().with_barrier([&] {
    for (const auto& q : d.queues) open_or_shut(*q, up);
  });
  return Status::kOk;
}

Status raise_host_mtu(Device& d, uint32_t mtu) noexcept {
  HostLinks& links = d.all->links();
  const auto name = links.name_of(d.link.index);
  const auto changed = name ? links.change_mtu(*name, mtu) : Result<void>(name.error());
  if (!changed) return changed.error().code;
  d.link.mtu = mtu;
  d.host_mtu.store(mtu, std::memory_order_relaxed);
  return Status::kOk;
}

// The kernel sends nothing that is longer than its own MTU says; a smaller one of ours is ours.
Status set_mtu(void* device, uint32_t mtu) noexcept {
  auto& d = *static_cast<Device*>(device);
  if (d.link.index == 0 || mtu <= d.link.mtu) {
    d.mtu = d.asked_mtu = mtu;  // of one that is gone: when it is back
    return Status::kOk;
  }
  const Status raised = raise_host_mtu(d, mtu);
  if (raised == Status::kOk) d.mtu = d.asked_mtu = mtu;
  return raised;
}

void describe(void* device, std::string& out) noexcept {
  auto& d = *static_cast<Device*>(device);
  note_kernel_drops(d);
  const auto n = [](const std::atomic<uint64_t>& v) {
    return std::to_string(v.load(std::memory_order_relaxed));
  };
  out += "af-packet on " + host_name(d);
  if (d.link.index == 0)
    out += ", which is gone";
  else
    out += " (index " + std::to_string(d.link.index) + ", " + d.link.mac.str() + ", mtu " +
           std::to_string(d.link.mtu) + (d.link.is_running ? ", running" : "") + ")";
  out += ", " + std::to_string(d.queues.size()) + " rx queues";
  if (!d.queues[0]->ring) out += " without rings";
  if (d.config.is_offloaded) out += ", csum tso";
  if (d.config.is_qdisc_bypassed) out += ", no qdisc";
  const TxCounters& t = d.tx_counters;
  out += "\nhost: failed-looks " + std::to_string(d.n_failed_looks);
  out += "\nrx: kernel-drops " + std::to_string(d.kernel_drops);
  out += "\ntx: socket-full " + n(t.socket_full) + " queue-full " + n(t.queue_full) +
         " bad-offsets " + n(t.bad_offsets) + " too-many-segments " + n(t.too_many_segments) +
         " too-long " + n(t.too_long) + " host-down " + n(t.host_down) + " no-memory " +
         n(t.no_memory) + " refused " + n(t.refused);
}

}  // namespace loom::af_packet
