// The virtio-net header that travels in front of each packet between the kernel and us
// (virtio 1.2 section 5.1.6, in the kernel's short form without num_buffers): what it says about
// checksum and segmentation, translated to and from a Buffer. Pure functions of header and packet.
#pragma once
#include <hostloom/buffer.h>

namespace loom::tap {

// Declared here because linux/virtio_net.h is not C++. Little-endian, like us.
struct VnetHeader {
  uint8_t flags = 0;         // kVnetNeedsChecksum, kVnetDataValid
  uint8_t gso_type = 0;      // kVnetGso*
  uint16_t hdr_len = 0;      // bytes of headers in front of the payload to segment; a hint
  uint16_t gso_size = 0;     // payload bytes per segment
  uint16_t csum_start = 0;   // where to begin summing, from the start of the Ethernet header
  uint16_t csum_offset = 0;  // where the sum goes, from csum_start
};
constexpr uint32_t kVnetSize = sizeof(VnetHeader);
static_assert(kVnetSize == 10);
constexpr uint8_t kVnetNeedsChecksum = 1, kVnetDataValid = 2;
constexpr uint8_t kVnetGsoNone = 0, kVnetGsoTcp4 = 1, kVnetGsoTcp6 = 4, kVnetGsoEcn = 0x80;

// Sets the packet's flags and gso_size from a received header. Every offset in it is checked
// against the packet, because a TAP may be attached to a namespace whose owner injects packets with
// headers of his own. False: header and packet contradict each other.
bool apply_received(const VnetHeader& h, Buffer& packet) noexcept;

// Fills in the header for a packet that is to be sent, data at its Ethernet header. False: the
// packet's offsets do not describe its headers, so that the kernel would refuse it.
bool make_to_send(const Buffer& packet, VnetHeader& h) noexcept;

}  // namespace loom::tap
