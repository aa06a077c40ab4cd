// Views of bytes, as the fifos take and give them, and reads of memory that another process may be
// writing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace loom::svm {

using ByteView = std::span<const std::byte>;
using MutableByteView = std::span<std::byte>;

inline ByteView bytes_of(const void* data, std::size_t n) noexcept {
  return {static_cast<const std::byte*>(data), n};
}

// One load that the compiler can neither repeat nor split: what is checked is what is used.
template <class T>
inline T read_once(const T& shared) noexcept {
  return __atomic_load_n(&shared, __ATOMIC_RELAXED);
}
// Its counterpart, for a field that a reader of a past generation may still look at.
template <class T>
inline void write_once(T& shared, T value) noexcept {
  __atomic_store_n(&shared, value, __ATOMIC_RELAXED);
}

}  // namespace loom::svm
