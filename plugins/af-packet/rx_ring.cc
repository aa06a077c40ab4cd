#include "rx_ring.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace loom::af_packet {
namespace {

constexpr uint32_t kBlockSize = 64 << 10;  // what the kernel allocates in one piece

Error failed(const char* what) {
  return error(errno == ENOMEM ? Status::kNoMemory : Status::kIo,
               std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

RxRing::~RxRing() {
  if (base_) ::munmap(base_, kSize);
}

Result<RxRing> RxRing::make(int socket) {
  const int version = TPACKET_V2, longer_ones_are_queued = 1;
  const tpacket_req ring{kBlockSize, kSize / kBlockSize, kSlotSize, kSlots};
  if (::setsockopt(socket, SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0)
    return failed("PACKET_VERSION");
  if (::setsockopt(socket, SOL_PACKET, PACKET_COPY_THRESH, &longer_ones_are_queued,
                   sizeof longer_ones_are_queued) != 0)
    return failed("PACKET_COPY_THRESH");
  if (::setsockopt(socket, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) != 0)
    return failed("PACKET_RX_RING");
  void* base = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, socket, 0);
  if (base == MAP_FAILED) return failed("mapping a ring");
  return RxRing(static_cast<std::byte*>(base));
}

bool RxRing::can_use(const char* release) noexcept {
  unsigned major = 0, minor = 0;
  return std::sscanf(release, "%u.%u", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 2));
}

Slot RxRing::look() const noexcept {
  const tpacket2_hdr& h = head();
  Slot s;
  if (h.tp_status & TP_STATUS_COPY) {
    s.kind = Slot::Kind::kInQueue;
    return s;
  }
  if (h.tp_mac < sizeof h + kVnetSize || uint32_t{h.tp_mac} > kSlotSize ||
      h.tp_snaplen > kSlotSize - h.tp_mac)
    return s;
  s.kind = h.tp_snaplen == h.tp_len ? Slot::Kind::kWhole : Slot::Kind::kCut;
  const auto* packet = reinterpret_cast<const std::byte*>(&h) + h.tp_mac;
  s.bytes = {packet, h.tp_snaplen};
  std::memcpy(&s.header, packet - kVnetSize, kVnetSize);
  if (h.tp_status & TP_STATUS_VLAN_VALID)
    s.tag = {h.tp_status & TP_STATUS_VLAN_TPID_VALID ? h.tp_vlan_tpid : kEtherTypeVlan,
             h.tp_vlan_tci};
  return s;
}

}  // namespace loom::af_packet
