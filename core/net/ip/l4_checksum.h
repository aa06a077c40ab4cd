// TCP and UDP checksums of packets for this host and from it, over either IP version.
#pragma once
#include <hostloom/buffer.h>
#include <hostloom/checksum.h>
#include <hostloom/wire.h>

namespace loom {

enum class L4Check : uint8_t {
  kOk,
  kTcpTooShort,
  kTcpChecksum,
  kUdpTooShort,
  kUdpLengthShort,
  kUdpLengthOverrun,
  kUdpChecksum,
};

// Verifies the TCP or UDP checksum of a received packet whose data is at the L4 header; other
// protocols are ok. Marks the packet kBufferL4ChecksumOk, unless it is UDP over IPv6 without one:
// whether that is taken is for the protocol above to say (RFC 6935).
template <class Address>
L4Check verify_l4(Buffer& b, uint8_t protocol, const Address& src, const Address& dst) noexcept {
  if (protocol != kProtoTcp && protocol != kProtoUdp) return L4Check::kOk;
  uint32_t length = b.length();
  if (protocol == kProtoUdp) {
    const auto* udp = b.peek<UdpHeader>();
    if (!udp) return L4Check::kUdpTooShort;
    if (udp->length < sizeof(UdpHeader)) return L4Check::kUdpLengthShort;
    if (udp->length > length) return L4Check::kUdpLengthOverrun;
    if (udp->checksum == 0) {
      if constexpr (sizeof(Address) == sizeof(Ip6Address)) return L4Check::kOk;
      b.flags |= kBufferL4ChecksumOk;  // none (RFC 768)
    }
    if (b.gso_size == 0) length = udp->length;
  } else if (b.len < sizeof(TcpHeader)) {
    return L4Check::kTcpTooShort;
  }
  if (b.flags & kBufferL4ChecksumOk) return L4Check::kOk;
  // Ours, never on a wire: the field holds the pseudo-header's sum only.
  if (b.flags & kBufferTxL4Checksum) {
    b.flags = (b.flags & ~kBufferTxL4Checksum) | kBufferL4ChecksumOk;
    return L4Check::kOk;
  }
  const ChecksumSum sum = pseudo_header_sum(src, dst, protocol, length);
  if (checksum_fold(checksum_add_chain(sum, &b, 0, length)) != 0xffff)
    return protocol == kProtoUdp ? L4Check::kUdpChecksum : L4Check::kTcpChecksum;
  b.flags |= kBufferL4ChecksumOk;
  return L4Check::kOk;
}

}  // namespace loom
