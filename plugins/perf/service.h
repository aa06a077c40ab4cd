// What a server does on one connection. On its worker.
#pragma once
#include <hostloom/app.h>

#include "server.h"

namespace loom::perf {

// The callbacks of a server's application; the context of its listener is the Server.
void set_service(AppOps& ops) noexcept;

}  // namespace loom::perf
