// plugin_dump and plugin_load: what `show plugins` and `plugin load` do, over the binary API.
// Control thread.
#pragma once
#include <hostloom/status.h>

namespace loom {

class ApiRegistry;
class PluginLoader;

// Adds the module "plugin" and its handlers. The loader outlives the last request.
Result<void> add_plugin_api(ApiRegistry&, PluginLoader&);

}  // namespace loom
