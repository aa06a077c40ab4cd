// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash that an attacker who sees outputs cannot
// predict, fast on inputs of a few words. For numbers that peers see and must not guess.
#pragma once
#include <bit>
#include <cstdint>
#include <span>

namespace loom {

struct SipKey {
  uint64_t k0 = 0, k1 = 0;
};

// Over whole 64-bit words; the length byte of the original is their number of bytes.
inline uint64_t siphash24(const SipKey& key, std::span<const uint64_t> words) noexcept {
  uint64_t v0 = key.k0 ^ 0x736f6d6570736575, v1 = key.k1 ^ 0x646f72616e646f6d,
           v2 = key.k0 ^ 0x6c7967656e657261, v3 = key.k1 ^ 0x7465646279746573;
  const auto round = [&] {
    v0 += v1;
    v2 += v3;
    v1 = std::rotl(v1, 13) ^ v0;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 = std::rotl(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = std::rotl(v1, 17) ^ v2;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 = std::rotl(v2, 32);
  };
  const auto absorb = [&](uint64_t m) {
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  };
  for (const uint64_t m : words) absorb(m);
  absorb(static_cast<uint64_t>(words.size() * 8) << 56);
  v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace loom
