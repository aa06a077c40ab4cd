// Names of the API's return codes: retval -6 is NO_SUCH_ENTRY.
#pragma once
#include <cstdint>
#include <span>

namespace loom {

struct ApiRetval {
  int32_t value;
  const char* name;
};

// All that have a name, from -1 down. Negative.
std::span<const ApiRetval> api_retvals();

// "NO_SUCH_ENTRY"; null for 0 and for codes that have no name.
const char* api_retval_name(int32_t value);

}  // namespace loom
