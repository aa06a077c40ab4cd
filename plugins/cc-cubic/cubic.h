// CUBIC's table, for registration and tests.
#pragma once
#include <hostloom/congestion.h>

namespace loom::cubic {

extern const CcOps kOps;

}  // namespace loom::cubic
