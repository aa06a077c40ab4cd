// Initial sequence numbers and timestamp offsets (RFC 6528, RFC 7323 section 5.4).
#pragma once
#include <array>
#include <cstring>

#include <hostloom/session.h>
#include <hostloom/siphash.h>

namespace loom::tcp {

struct InitialNumbers {
  Seq iss;
  uint32_t ts_offset;  // added to the millisecond clock: a peer cannot read our uptime
};

// ISN = M + F(local, remote, key) with M a 4 us clock: successive incarnations of one 4-tuple get
// increasing numbers, those of different 4-tuples tell nothing about each other. One hash gives
// both values; the key is from the kernel, once per process.
inline InitialNumbers initial_numbers(const SipKey& key, const Endpoints& e, TimeNs now) noexcept {
  std::array<uint64_t, 5> words{};
  std::memcpy(&words[0], e.local.bits.bytes.data(), 16);
  std::memcpy(&words[2], e.remote.bits.bytes.data(), 16);
  words[4] = uint64_t{e.local_port} << 48 | uint64_t{e.remote_port} << 32 | e.fib_index;
  const uint64_t f = siphash24(key, words);
  const auto m = static_cast<uint32_t>(now / (4 * kMicrosecond));
  return {Seq(static_cast<uint32_t>(f) + m), static_cast<uint32_t>(f >> 32)};
}

}  // namespace loom::tcp
