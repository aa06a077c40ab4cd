// Of a TCP header (RFC 9293 section 3.1, RFC 3168).
#pragma once
#include <cstdint>

namespace loom::memif {

constexpr uint8_t kFin = 0x01, kPsh = 0x08, kAck = 0x10, kCwr = 0x80;

}  // namespace loom::memif
