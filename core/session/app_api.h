// Messages of module "session" about applications. Private to core/session/.
#pragma once
#include "session/impl.h"

namespace loom {

class ApiRegistry;

namespace session {

constexpr const char* kDefaultNamespace = "default";  // the only one so far

// Their module is there already. The layer outlives the last request.
void add_app_handlers(ApiRegistry&, Impl&);

}  // namespace session
}  // namespace loom
