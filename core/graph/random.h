// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021): one
// generator per worker, seeded from the kernel. Fast and well mixed, but its outputs give its state
// away: not for secrets (sequence numbers, cookies and keys have keyed hashes).
#pragma once
#include <sys/random.h>

#include <array>
#include <bit>
#include <cstdint>

#include <hostloom/check.h>

namespace loom {

class Random {
 public:
  Random() {
    do {
      LOOM_CHECK(getrandom(state_.data(), sizeof state_, 0) == sizeof state_);
    } while (state_ == std::array<uint64_t, 4>{});  // the one state that it never leaves
  }
  explicit Random(const std::array<uint64_t, 4>& state) : state_(state) {}

  uint64_t next() noexcept {
    auto& s = state_;
    const uint64_t result = std::rotl(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = std::rotl(s[3], 45);
    return result;
  }

 private:
  std::array<uint64_t, 4> state_{};
};

}  // namespace loom
