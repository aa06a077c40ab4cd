// Packet trace and capture over the binary API: module "trace". Control thread.
#pragma once
#include <functional>

#include <hostloom/status.h>

namespace loom {

class ApiRegistry;
class Engine;

// The engine outlives the last request. is_interface: whether there is one of that index.
Result<void> add_trace_api(ApiRegistry&, Engine&, std::function<bool(uint32_t)> is_interface);

}  // namespace loom
