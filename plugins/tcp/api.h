// The plugin's messages (tcp.api.json). Control thread.
#pragma once
#include <hostloom/host.h>

namespace loom::tcp {

Result<void> add_api(Host&);  // in init()

}  // namespace loom::tcp
