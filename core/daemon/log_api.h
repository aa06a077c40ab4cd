// The level of the log over the binary API: module "logging". Control thread.
#pragma once
#include <hostloom/status.h>

namespace loom {

class ApiRegistry;
class DaemonLog;

// The log outlives the last request.
Result<void> add_log_api(ApiRegistry&, DaemonLog&);

}  // namespace loom
