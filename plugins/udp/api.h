// The plugin's messages (udp.api.json). Control thread.
#pragma once
#include <hostloom/host.h>

namespace loom::udp {

Result<void> add_api(Host&);  // in init()

}  // namespace loom::udp
