#include "svm/copy.h"

#include <emmintrin.h>

namespace loom::svm::detail {

void copy_by_vectors(std::byte* to, const std::byte* from, std::size_t n) noexcept {
  constexpr std::size_t kStep = 4 * sizeof(__m128i);
  for (; n >= kStep; n -= kStep, to += kStep, from += kStep) {
    const auto* f = reinterpret_cast<const __m128i*>(from);
    auto* t = reinterpret_cast<__m128i*>(to);
    const __m128i a = _mm_loadu_si128(f), b = _mm_loadu_si128(f + 1);
    const __m128i c = _mm_loadu_si128(f + 2), d = _mm_loadu_si128(f + 3);
    _mm_storeu_si128(t, a);
    _mm_storeu_si128(t + 1, b);
    _mm_storeu_si128(t + 2, c);
    _mm_storeu_si128(t + 3, d);
  }
  std::memcpy(to, from, n);
}

}  // namespace loom::svm::detail
