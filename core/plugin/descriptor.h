// Opens one plugin file and reads its descriptor, believing as little of it as possible.
#pragma once
#include <string>
#include <vector>

#include <hostloom/plugin.h>

namespace loom {

struct OpenedPlugin {
  void* library = nullptr;  // the caller's to dlclose, as long as init() has not run
  PluginInfo info;          // a copy; entries that the plugin's size does not cover are null or ""
  std::vector<std::string> needs;
};

// kMalformed: not a shared object, no descriptor, or one that cannot be right. kUnsupported: built
// for another ABI. The message says why and does not name the file.
Result<OpenedPlugin> open_plugin(const std::string& file);

}  // namespace loom
