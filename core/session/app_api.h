// Messages of module "session" about applications. Private to core/session/.
#pragma once
#include "session/impl.h"

namespace loom {

class ApiRegistry;

namespace session {

// Their module is there already. The layer outlives the last request.
void add_app_handlers(ApiRegistry&, Impl&);
void add_namespace_handlers(ApiRegistry&, Impl&);  // namespace_api.cc

}  // namespace session
}  // namespace loom
