// How tables of functions that a plugin was built with become tables that the core can call.
//
// Every table starts with its own size as the plugin's compiler saw it. An older plugin's table is
// shorter than ours, a newer one's longer: what both know is copied, and the entries beyond stay as
// the default member initialisers say (null). The core then tests for null, never for sizes.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

namespace loom {

// `least`: bytes without which the table makes no sense (offsetof the first optional entry). Empty
// when the size cannot be that of any version of T: reading it would be reading past the plugin's
// object.
template <class T>
std::optional<T> full_size_copy(const T& from, std::size_t least) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>);
  static_assert(offsetof(T, struct_size) == 0);
  uint32_t size;
  std::memcpy(&size, &from, sizeof size);
  // A size that is not a multiple of the alignment would cut an entry in two.
  if (size < least || size % alignof(T) != 0) return std::nullopt;
  T full;
  std::memcpy(static_cast<void*>(&full), &from, std::min<std::size_t>(size, sizeof(T)));
  full.struct_size = sizeof(T);
  return full;
}

}  // namespace loom
