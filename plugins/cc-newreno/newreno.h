// NewReno's table, for registration and tests.
#pragma once
#include <hostloom/congestion.h>

namespace loom::newreno {

extern const CcOps kOps;

}  // namespace loom::newreno
