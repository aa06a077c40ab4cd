// Strings that hold private keys: their memory is cleared before it goes back, wherever it was
// grown, moved or thrown away. What is as short as a string's own 15 bytes is not.
#pragma once
#include <string.h>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace loom {

template <class T>
struct ClearingAllocator {
  using value_type = T;
  ClearingAllocator() = default;
  template <class U>
  constexpr ClearingAllocator(const ClearingAllocator<U>&) noexcept {}
  T* allocate(std::size_t n) { return std::allocator<T>().allocate(n); }
  void deallocate(T* p, std::size_t n) noexcept {
    ::explicit_bzero(static_cast<void*>(p), n * sizeof(T));
    std::allocator<T>().deallocate(p, n);
  }
  bool operator==(const ClearingAllocator&) const noexcept { return true; }
};

using SecretString = std::basic_string<char, std::char_traits<char>, ClearingAllocator<char>>;

// A string of another kind is cleared at the end of the block. It does not grow meanwhile.
class ClearedAtEnd {
 public:
  explicit ClearedAtEnd(std::string& s) noexcept : s_(s) {}
  ~ClearedAtEnd() { ::explicit_bzero(s_.data(), s_.size()); }
  ClearedAtEnd(const ClearedAtEnd&) = delete;
  ClearedAtEnd& operator=(const ClearedAtEnd&) = delete;

 private:
  std::string& s_;
};

}  // namespace loom
