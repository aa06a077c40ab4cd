// 32-bit words are added in lanes of 64 bits: no carry can be lost below 16 GB.
#include "copy_sum.h"

#include <immintrin.h>

namespace loom::memif {
namespace {

constexpr std::size_t kStep = 64;

// Fewer than kStep bytes, by way of memory of our own.
ChecksumSum copy_tail(std::byte* to, const std::byte* from, std::size_t n) noexcept {
  std::byte tail[kStep];
  std::memcpy(tail, from, n);
  use_copy_of(tail);
  std::memcpy(to, tail, n);
  return checksum_add(0, tail, n);
}

}  // namespace

ChecksumSum detail::copy_sse2(std::byte* to, const std::byte* from, std::size_t n) noexcept {
  const __m128i low = _mm_set1_epi64x(0xffffffff);
  __m128i even = _mm_setzero_si128(), odd = even;
  for (; n >= kStep; n -= kStep, to += kStep, from += kStep)
    for (std::size_t i = 0; i < kStep; i += sizeof(__m128i)) {
      const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), v);
      even = _mm_add_epi64(even, _mm_and_si128(v, low));
      odd = _mm_add_epi64(odd, _mm_srli_epi64(v, 32));
    }
  uint64_t lanes[2];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(lanes), _mm_add_epi64(even, odd));
  return lanes[0] + lanes[1] + copy_tail(to, from, n);
}

[[gnu::target("avx2")]] ChecksumSum detail::copy_avx2(std::byte* to, const std::byte* from,
                                                      std::size_t n) noexcept {
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i even = _mm256_setzero_si256(), odd = even;
  for (; n >= kStep; n -= kStep, to += kStep, from += kStep)
    for (std::size_t i = 0; i < kStep; i += sizeof(__m256i)) {
      const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), v);
      even = _mm256_add_epi64(even, _mm256_and_si256(v, low));
      odd = _mm256_add_epi64(odd, _mm256_srli_epi64(v, 32));
    }
  uint64_t lanes[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi64(even, odd));
  return lanes[0] + lanes[1] + lanes[2] + lanes[3] + copy_tail(to, from, n);
}

namespace {
const auto kCopy = __builtin_cpu_supports("avx2") ? detail::copy_avx2 : detail::copy_sse2;
}  // namespace

ChecksumSum copy_and_sum(std::byte* to, const std::byte* from, std::size_t n) noexcept {
  return kCopy(to, from, n);
}

}  // namespace loom::memif
