// The scalar vocabulary: wire-order integers, TCP sequence numbers, time.
#pragma once
#include <bit>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace loom {

static_assert(std::endian::native == std::endian::little,
              "Hostloom runs on little-endian machines");

constexpr uint16_t byteswap(uint16_t v) noexcept { return __builtin_bswap16(v); }
constexpr uint32_t byteswap(uint32_t v) noexcept { return __builtin_bswap32(v); }
constexpr uint64_t byteswap(uint64_t v) noexcept { return __builtin_bswap64(v); }

// An unsigned integer in network byte order. Unaligned on purpose: wire structs overlay packet
// bytes.
template <class T>
class [[gnu::packed]] BigEndian {
 public:
  constexpr BigEndian() noexcept = default;
  constexpr BigEndian(T host) noexcept : raw_(byteswap(host)) {}
  constexpr operator T() const noexcept { return byteswap(raw_); }
  constexpr T raw() const noexcept { return raw_; }  // as it lies in memory
  static constexpr BigEndian from_raw(T raw) noexcept {
    BigEndian b;
    b.raw_ = raw;
    return b;
  }

 private:
  T raw_ = 0;
};
using Be16 = BigEndian<uint16_t>;
using Be32 = BigEndian<uint32_t>;
using Be64 = BigEndian<uint64_t>;
static_assert(sizeof(Be16) == 2 && alignof(Be16) == 1 && sizeof(Be64) == 8);

// A TCP sequence number; compares modulo 2^32 (RFC 9293 section 3.4). Two numbers compare
// meaningfully only when they are less than 2^31 apart.
class Seq {
 public:
  constexpr Seq() noexcept = default;
  constexpr explicit Seq(uint32_t v) noexcept : v_(v) {}
  constexpr uint32_t raw() const noexcept { return v_; }
  friend constexpr Seq operator+(Seq a, uint32_t n) noexcept { return Seq(a.v_ + n); }
  friend constexpr Seq operator-(Seq a, uint32_t n) noexcept { return Seq(a.v_ - n); }
  // Distance from b to a; negative when a is before b.
  friend constexpr int32_t operator-(Seq a, Seq b) noexcept {
    return static_cast<int32_t>(a.v_ - b.v_);
  }
  constexpr Seq& operator+=(uint32_t n) noexcept {
    v_ += n;
    return *this;
  }
  friend constexpr bool operator==(Seq a, Seq b) noexcept = default;
  friend constexpr bool operator<(Seq a, Seq b) noexcept { return a - b < 0; }
  friend constexpr bool operator<=(Seq a, Seq b) noexcept { return a - b <= 0; }
  friend constexpr bool operator>(Seq a, Seq b) noexcept { return a - b > 0; }
  friend constexpr bool operator>=(Seq a, Seq b) noexcept { return a - b >= 0; }
  // first <= *this < first + size
  constexpr bool in_window(Seq first, uint32_t size) const noexcept { return v_ - first.v_ < size; }

 private:
  uint32_t v_ = 0;
};
constexpr Seq max(Seq a, Seq b) noexcept { return a < b ? b : a; }
constexpr Seq min(Seq a, Seq b) noexcept { return a < b ? a : b; }

// Nanoseconds on the worker's clock (monotonic; starts above 0, so that 0 can mean "never").
using TimeNs = int64_t;
constexpr TimeNs kMicrosecond = 1'000, kMillisecond = 1'000'000, kSecond = 1'000'000'000;
constexpr double to_seconds(TimeNs t) noexcept { return static_cast<double>(t) * 1e-9; }
constexpr TimeNs from_seconds(double s) noexcept { return static_cast<TimeNs>(s * 1e9); }
template <class R, class P>
constexpr TimeNs to_ns(std::chrono::duration<R, P> d) noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
}

constexpr std::size_t kCacheLine = 64;

}  // namespace loom
