#include "plugin/descriptor.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstring>

#include "plugin/elf_file.h"

namespace loom {
namespace {

constexpr std::size_t kMaxName = 63;
// Everything up to and including init: less cannot be used at all.
constexpr uint32_t kLeastSize = offsetof(PluginInfo, init) + sizeof(PluginInfo::init);

std::string version_text(uint32_t abi) {
  return std::to_string(abi >> 16) + "." + std::to_string(abi & 0xffff);
}

// dlerror() starts with the path, which the caller's log line has already.
std::string open_failure(const std::string& file) {
  const char* text = dlerror();
  std::string s = text ? text : "unknown error";
  if (s.starts_with(file + ": ")) s.erase(0, file.size() + 2);
  return "is not a loadable shared object: " + s;
}

bool is_proper_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::vector<std::string> split_needs(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view name = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

// How many bytes the symbol table gives the object at `symbol`.
std::size_t symbol_size(void* symbol) {
  Dl_info where;
  void* entry = nullptr;
  if (!dladdr1(symbol, &where, &entry, RTLD_DL_SYMENT) || !entry) return 0;
  return static_cast<const ElfW(Sym)*>(entry)->st_size;
}

Result<PluginInfo> read_descriptor(void* library) {
  void* symbol = dlsym(library, kPluginSymbol);
  if (!symbol)
    return error(Status::kMalformed,
                 std::string("does not export '") + kPluginSymbol + "': not a Hostloom plugin");
  const std::size_t there = symbol_size(symbol);
  uint32_t abi = 0, size = 0;
  if (there < sizeof abi + sizeof size)
    return error(Status::kMalformed, "has a descriptor of " + std::to_string(there) +
                                         " bytes, too short for its version");
  std::memcpy(&abi, symbol, sizeof abi);
  if (abi >> 16 != kPluginAbi >> 16 || (abi & 0xffff) > (kPluginAbi & 0xffff))
    return error(Status::kUnsupported, "is built for plugin ABI " + version_text(abi) +
                                           ", this Hostloom has " + version_text(kPluginAbi));
  std::memcpy(&size, static_cast<const char*>(symbol) + offsetof(PluginInfo, struct_size),
              sizeof size);
  if (size < kLeastSize || size > there || size % alignof(PluginInfo) != 0)
    return error(Status::kMalformed, "has a truncated descriptor: it says " + std::to_string(size) +
                                         " bytes, " + std::to_string(there) + " are there, " +
                                         std::to_string(kLeastSize) + " are needed");
  PluginInfo info;
  std::memcpy(static_cast<void*>(&info), symbol, std::min<std::size_t>(size, sizeof info));
  return info;
}

}  // namespace

Result<OpenedPlugin> open_plugin(const std::string& file) {
  OpenedPlugin opened;
  if (auto ok = check_elf_file(file); !ok) return ok.error();
  // RTLD_NOW: a plugin that misses a symbol is refused here, and not a crash on the data path.
  opened.library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!opened.library) return error(Status::kMalformed, open_failure(file));
  auto info = read_descriptor(opened.library);
  const char* missing = nullptr;
  if (info && !is_proper_name(info->name ? info->name : ""))
    missing = "has no proper name in its descriptor (letters, digits, '-', '_' and '.')";
  else if (info && !info->init)
    missing = "has no init function in its descriptor";
  if (!info || missing) {
    dlclose(opened.library);
    return missing ? error(Status::kMalformed, missing) : info.error();
  }
  opened.info = *info;
  for (const char** text : {&opened.info.version, &opened.info.summary, &opened.info.needs})
    if (!*text) *text = "";
  opened.needs = split_needs(opened.info.needs);
  return opened;
}

}  // namespace loom
