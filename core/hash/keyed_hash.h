// A keyed hash of short fixed-size keys, for tables whose keys a peer chooses.
//
// Port numbers and addresses come from outside, so whoever knows the hash can send packets that
// all land in one bucket. A CRC does not help even with a random seed: it is linear over GF(2), so
// crc(seed, a) ^ crc(seed, b) does not depend on the seed and a set of colliding keys collides for
// every seed. Here each key word is mixed with a secret word of its own and pairs are multiplied to
// 128 bits and folded: two keys collide or not depending on secret bits that are drawn per table
// and never leave the process. It is no cryptographic function: it is enough because no one outside
// sees a hash value.
//
//   cost  BM_KeyedHash: two multiplications for 16-byte keys, four for 48
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace loom {

struct HashSecret {
  std::array<uint64_t, 8> words{};

  // From the kernel's random generator; aborts if there is none, which Linux promises not to do.
  static HashSecret random() noexcept;
  // Reproducible, for tests.
  static HashSecret from_seed(uint64_t seed) noexcept;
};

namespace detail {
inline uint64_t multiply_fold(uint64_t a, uint64_t b) noexcept {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}
}  // namespace detail

// Every bit of the result is usable: callers take bucket, page and tag from different bits.
template <std::size_t Words>
uint64_t keyed_hash(const std::array<uint64_t, Words>& key, const HashSecret& secret) noexcept {
  static_assert(Words >= 1 && Words <= 6, "words 6 and 7 of the secret finish the hash");
  uint64_t h = 0;
  for (std::size_t i = 0; i + 1 < Words; i += 2)
    h += detail::multiply_fold(key[i] ^ secret.words[i], key[i + 1] ^ secret.words[i + 1]);
  if constexpr (Words % 2 == 1)
    h += detail::multiply_fold(key[Words - 1] ^ secret.words[Words - 1], secret.words[Words]);
  return detail::multiply_fold(h ^ secret.words[6], secret.words[7]);
}

}  // namespace loom
