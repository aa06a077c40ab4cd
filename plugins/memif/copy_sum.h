// Copies bytes and adds them up in the same pass, for the Internet checksum.
#pragma once
#include <hostloom/checksum.h>

namespace loom::memif {

// Each byte of `from` is read once: what is summed is what has been copied, whoever writes there
// meanwhile. The sum is that of checksum_add(0, from, n).
ChecksumSum copy_and_sum(std::byte* to, const std::byte* from, std::size_t n) noexcept;

// What is at `copy` was copied from memory that others write to: the compiler reads it there, and
// not once more where it came from.
inline void use_copy_of(const void* copy) noexcept { asm volatile("" : : "r"(copy) : "memory"); }

namespace detail {
// What it is, by the processor.
ChecksumSum copy_sse2(std::byte* to, const std::byte* from, std::size_t n) noexcept;
ChecksumSum copy_avx2(std::byte* to, const std::byte* from, std::size_t n) noexcept;
}  // namespace detail

// The sum of pieces that follow one another, of any length each.
class RunningSum {
 public:
  void add(ChecksumSum piece, std::size_t n) noexcept {
    const uint16_t folded = checksum_fold(piece);
    sum_ += is_odd_ ? byteswap(folded) : folded;
    is_odd_ ^= n & 1;
  }
  ChecksumSum value() const noexcept { return sum_; }

 private:
  ChecksumSum sum_ = 0;
  bool is_odd_ = false;
};

}  // namespace loom::memif
