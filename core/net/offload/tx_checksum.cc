#include "net/offload/tx_checksum.h"

#include <hostloom/checksum.h>

namespace loom {
namespace {

// The header at a stored offset, when all of it is in the first segment.
template <class T>
T* header_at(Buffer& b, int16_t offset) noexcept {
  const int from_data = offset - b.offset_of_data();
  return from_data < 0 ? nullptr : b.peek<T>(static_cast<uint32_t>(from_data));
}

}  // namespace

bool finish_ip4_checksum(Buffer& b) noexcept {
  if (!(b.flags & kBufferTxIp4Checksum)) return true;
  auto* ip = b.is_external() ? nullptr : header_at<Ip4Header>(b, b.l3_offset);
  if (!ip || b.l3_offset - b.offset_of_data() + static_cast<int>(ip->header_length()) >
                 static_cast<int>(b.len))
    return false;
  ip->checksum = 0;
  ip->checksum = ip4_header_checksum(*ip);
  b.flags &= ~kBufferTxIp4Checksum;
  return true;
}

bool finish_tx_checksums(Buffer& b) noexcept {
  if (b.flags & kBufferTxL4Checksum) {
    auto* tcp = header_at<TcpHeader>(b, b.l4_offset);
    auto* udp = header_at<UdpHeader>(b, b.l4_offset);
    const bool is_tcp = b.flags & kBufferTxTcpChecksum;
    if (b.is_external() || !(is_tcp ? tcp != nullptr : udp != nullptr)) return false;
    // The field holds the pseudo-header's sum, which is thus part of what is summed.
    const auto offset = static_cast<uint32_t>(b.l4_offset - b.offset_of_data());
    const uint16_t sum = checksum_finish(checksum_add_chain(0, &b, offset, b.length() - offset));
    if (is_tcp)
      tcp->checksum = sum;
    else
      udp->checksum = sum ? sum : 0xffff;  // zero means "none" (RFC 768)
    b.flags &= ~kBufferTxL4Checksum;
  }
  return finish_ip4_checksum(b);
}

}  // namespace loom
