// The Internet checksum (RFC 1071). Sums are kept in memory order and never swapped: the sum of the
// swapped words is the swapped sum, so reading 16-bit fields raw is right on any machine.
#pragma once
#include <cstring>

#include <hostloom/buffer.h>
#include <hostloom/wire.h>

namespace loom {

// An unfolded ones'-complement sum.
using ChecksumSum = uint64_t;

// Adds `size` bytes that start at an even offset of what is summed. Partial words at the end are
// padded with zero.
inline ChecksumSum checksum_add(ChecksumSum sum, const void* bytes, std::size_t size) noexcept {
  const auto* p = static_cast<const unsigned char*>(bytes);
  // 32-bit words into a 64-bit accumulator: no carry can be lost below 16 GB. Compilers vectorise
  // this loop.
  while (size >= 32) {
    uint32_t w[8];
    std::memcpy(w, p, 32);
    sum += uint64_t{w[0]} + w[1] + w[2] + w[3] + w[4] + w[5] + w[6] + w[7];
    p += 32;
    size -= 32;
  }
  while (size >= 4) {
    uint32_t w;
    std::memcpy(&w, p, 4);
    sum += w;
    p += 4;
    size -= 4;
  }
  if (size >= 2) {
    uint16_t w;
    std::memcpy(&w, p, 2);
    sum += w;
    p += 2;
    size -= 2;
  }
  if (size) sum += *p;
  return sum;
}

inline uint16_t checksum_fold(ChecksumSum sum) noexcept {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}
// What goes into a header's checksum field.
inline uint16_t checksum_finish(ChecksumSum sum) noexcept {
  return static_cast<uint16_t>(~checksum_fold(sum));
}

// Adds `size` bytes of a chain from `offset` into it; segments may have odd lengths.
inline ChecksumSum checksum_add_chain(ChecksumSum sum, const Buffer* b, uint32_t offset,
                                      uint32_t size) noexcept {
  bool odd = false;
  for (; b && size; b = b->next) {
    if (offset >= b->len) {
      offset -= b->len;
      continue;
    }
    const uint32_t n = b->len - offset < size ? b->len - offset : size;
    const uint16_t part = checksum_fold(checksum_add(0, b->data + offset, n));
    sum += odd ? byteswap(part) : part;
    odd ^= n & 1;
    size -= n;
    offset = 0;
  }
  return sum;
}

// Pseudo-headers (RFC 9293 section 3.1, RFC 8200 section 8.1). length: L4 header and payload, in
// bytes.
inline ChecksumSum pseudo_header_sum(const Ip4Address& src, const Ip4Address& dst, uint8_t protocol,
                                     uint32_t length) noexcept {
  ChecksumSum sum = uint64_t{src.raw()} + dst.raw();
  sum += byteswap(static_cast<uint16_t>(protocol));
  return sum + byteswap(length);
}
inline ChecksumSum pseudo_header_sum(const Ip6Address& src, const Ip6Address& dst, uint8_t protocol,
                                     uint32_t length) noexcept {
  ChecksumSum sum = checksum_add(0, src.bytes.data(), 16);
  sum = checksum_add(sum, dst.bytes.data(), 16);
  return sum + byteswap(uint32_t{protocol}) + byteswap(length);
}

inline uint16_t ip4_header_checksum(const Ip4Header& ip) noexcept {
  return checksum_finish(checksum_add(0, &ip, ip.header_length()));
}
// True when the header checksum, as received, is right.
inline bool ip4_header_checksum_ok(const Ip4Header& ip) noexcept {
  return checksum_fold(checksum_add(0, &ip, ip.header_length())) == 0xffff;
}

}  // namespace loom
