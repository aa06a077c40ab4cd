#include "session/fair_share.h"

#include <sys/resource.h>

#include <algorithm>

namespace loom::session {
namespace {

constexpr uint64_t kKept = 256;         // for clients of the API, drivers, files
constexpr uint64_t kMostMaps = 49'152;  // a segment is a mapping, of which there may be 65,530

uint64_t descriptors_for_applications() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = 1024;
  const uint64_t all = limit.rlim_cur;
  return std::min(all > 2 * kKept ? all - kKept : all / 2, kMostMaps);
}

}  // namespace

Shares::Shares() noexcept : descriptors(descriptors_for_applications()) {}

}  // namespace loom::session
