#include "packet_socket.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <string>

namespace loom::af_packet {
namespace {

Error failed(const char* what, int err) {
  if (err == ENOPROTOOPT)
    return error(Status::kUnsupported, std::string("the kernel is too old for ") + what);
  return error(Status::kIo, std::string(what) + ": " + std::strerror(err));
}

Result<void> set(int fd, int level, int option, int value, const char* what) {
  if (::setsockopt(fd, level, option, &value, sizeof value) == 0) return {};
  return failed(what, errno);
}

// As large as asked for with CAP_NET_ADMIN, else as net.core.rmem_max and wmem_max allow.
void set_room(int fd, int forced, int polite, int bytes) noexcept {
  if (::setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) != 0)
    (void)::setsockopt(fd, SOL_SOCKET, polite, &bytes, sizeof bytes);
}

bool kernel_has_rings() noexcept {
  utsname kernel{};
  return ::uname(&kernel) == 0 && RxRing::can_use(kernel.release);
}

}  // namespace

Result<PacketSocket> open_packet_socket(const SocketConfig& c) {
  // Without a protocol it receives nothing until it is bound.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) {
    if (errno == EPERM || errno == EACCES)
      return error(Status::kPermission, "packet socket: CAP_NET_RAW is missing");
    if (errno == EAFNOSUPPORT)
      return error(Status::kUnsupported, "the kernel has no packet sockets");
    return failed("packet socket", errno);
  }
  const int fd = socket.get();
  const struct {
    int option, value;
    const char* name;
  } options[] = {
      {PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"},
      {PACKET_AUXDATA, 1, "PACKET_AUXDATA"},
      {PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING"},
      {PACKET_QDISC_BYPASS, c.is_qdisc_bypassed, "PACKET_QDISC_BYPASS"},
  };
  for (const auto& o : options)
    if (auto ok = set(fd, SOL_PACKET, o.option, o.value, o.name); !ok) return ok.error();
  set_room(fd, SO_RCVBUFFORCE, SO_RCVBUF, kRxBytes);
  set_room(fd, SO_SNDBUFFORCE, SO_SNDBUF, kTxBytes);
  let_in(fd, false);
  const bool has_ring = c.has_ring && kernel_has_rings();
  auto ring = has_ring ? RxRing::make(fd) : Result<RxRing>(RxRing());
  if (!ring) return ring.error();
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETH_P_ALL);
  to.sll_ifindex = static_cast<int>(c.host_index);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
    return failed("binding a packet socket", errno);
  // Our address is not the interface's, unless the operator says so.
  packet_mreq all{};
  all.mr_ifindex = to.sll_ifindex;
  all.mr_type = PACKET_MR_PROMISC;
  if (::setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) != 0)
    return failed("promiscuous mode", errno);
  return PacketSocket{std::move(socket), std::move(*ring)};
}

Result<void> join(const std::vector<PacketSocket>& sockets) {
  if (sockets.size() < 2) return {};
  uint32_t id = 0, flags = PACKET_FANOUT_FLAG_UNIQUEID;
  for (const auto& [fd, ring] : sockets) {
    const uint32_t value = id | (PACKET_FANOUT_HASH | flags) << 16;
    if (auto ok =
            set(fd.get(), SOL_PACKET, PACKET_FANOUT, static_cast<int>(value), "PACKET_FANOUT");
        !ok)
      return ok;
    if (flags == 0) continue;
    flags = 0;  // the kernel has chosen an id that nobody has
    socklen_t size = sizeof id;
    if (::getsockopt(fd.get(), SOL_PACKET, PACKET_FANOUT, &id, &size) != 0)
      return failed("PACKET_FANOUT", errno);
    id &= 0xffff;
  }
  return {};
}

void let_in(int fd, bool is_open) noexcept {
  // What the kernel sends itself is for nobody here. PACKET_IGNORE_OUTGOING does not hold in a
  // fanout group.
  constexpr auto kPacketType = static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE);
  sock_filter incoming[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kPacketType),
                            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 1),
                            BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, ~0u)};
  sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  const sock_fprog program =
      is_open ? sock_fprog{std::size(incoming), incoming} : sock_fprog{std::size(nothing), nothing};
  (void)::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

void empty(int fd, RxRing& ring) noexcept {
  // Neither grows any more.
  for (uint32_t n = 0; n < RxRing::kSlots && ring.is_filled(); ++n) ring.give_back();
  char byte;
  constexpr uint32_t kMost = 2 * kRxBytes / 256;  // no packet is less by the kernel's account
  for (uint32_t n = 0; n < kMost; ++n)
    if (::recv(fd, &byte, 0, MSG_TRUNC) < 0 && errno == EAGAIN) break;
}

bool is_attached(int fd) noexcept {
  sockaddr_ll at{};
  socklen_t size = sizeof at;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0 && at.sll_ifindex > 0;
}

SocketCounts take_counts(int fd) noexcept {
  tpacket_stats s{};
  socklen_t size = sizeof s;
  if (::getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &s, &size) != 0) return {};
  return {s.tp_packets - s.tp_drops, s.tp_drops};
}

}  // namespace loom::af_packet
