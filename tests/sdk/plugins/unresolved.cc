// Calls a function that does not exist.
#include <hostloom/plugin.h>

loom::Result<void> nobody_has_this(loom::Host&);

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {.name = "unresolved",
                                                                 .init = nobody_has_this};
