#include "hash/keyed_hash.h"

#include <sys/random.h>

#include <cerrno>

#include <hostloom/check.h>

namespace loom {
namespace {
// Odd multipliers of full length: a zero or small one would leave high bits unmixed.
constexpr uint64_t kMustHave = (1ull << 63) | 1;
}  // namespace

HashSecret HashSecret::random() noexcept {
  HashSecret s;
  ssize_t n;
  do n = getrandom(s.words.data(), sizeof s.words, 0);
  while (n < 0 && errno == EINTR);
  LOOM_CHECK(n == static_cast<ssize_t>(sizeof s.words));
  for (auto& w : s.words) w |= kMustHave;
  return s;
}

HashSecret HashSecret::from_seed(uint64_t seed) noexcept {
  HashSecret s;
  for (auto& w : s.words) {  // a Weyl sequence through a finaliser: distinct words for any seed
    seed += 0x9e3779b97f4a7c15ull;
    w = detail::multiply_fold(seed ^ (seed >> 29), 0xd1b54a32d192ed03ull) ^ seed;
    w |= kMustHave;
  }
  return s;
}

}  // namespace loom
