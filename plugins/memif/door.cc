#include "door.h"

#include <algorithm>

namespace loom::memif {

std::size_t Door::who_goes(std::span<const uid_t> strangers) noexcept {
  std::size_t who = 0;
  std::ptrdiff_t most = 0;
  for (std::size_t i = 0; i < strangers.size(); ++i) {
    const auto n = std::count(strangers.begin(), strangers.end(), strangers[i]);
    if (n > most) most = n, who = i;
  }
  return who;
}

}  // namespace loom::memif
