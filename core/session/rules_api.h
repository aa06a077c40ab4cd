// Rules and deny lists over the binary API. Private to core/session/. Control thread.
#pragma once
#include "session/impl.h"

namespace loom {
class ApiRegistry;
}

namespace loom::session {

// Both outlive the last request. The module is there.
void add_rule_handlers(ApiRegistry&, Impl&);

}  // namespace loom::session
