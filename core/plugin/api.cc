#include "plugin/api.h"

#include <algorithm>

#include "api/registry.h"
#include "plugin.api.h"
#include "plugin/loader.h"

namespace loom {
namespace {

constexpr int32_t kInitFailed = -144;
constexpr std::size_t kMaxName = 4095;  // PATH_MAX less its zero

api::PluginState to_api(PluginState state) {
  switch (state) {
    case PluginState::kFound:
      return api::PluginState::kPluginApiStateFound;
    case PluginState::kDisabled:
      return api::PluginState::kPluginApiStateDisabled;
    case PluginState::kRefused:
      return api::PluginState::kPluginApiStateRefused;
    case PluginState::kLoaded:
      return api::PluginState::kPluginApiStateLoaded;
    case PluginState::kRunning:
      return api::PluginState::kPluginApiStateRunning;
    case PluginState::kStopped:
      break;
  }
  return api::PluginState::kPluginApiStateStopped;
}

void describe(const PluginRow& row, api::PluginDetails& details) {
  details.name = row.name;
  details.version = row.version;
  details.abi_major = static_cast<uint16_t>(row.abi >> 16);
  details.abi_minor = static_cast<uint16_t>(row.abi);
  details.state = to_api(row.state);
  details.summary = row.summary;
  for (const std::string& name : row.needs)
    details.needs += (details.needs.empty() ? "" : ",") + name;
  details.path = row.file;
  details.reason = row.reason;
}

// What comes over the socket need not be text: a zero would cut the path that is opened, and the
// name is written to the log.
Result<void> check_name(const std::string& name) {
  if (name.empty()) return error(Status::kInvalid, "the plugin's name or file is empty");
  if (name.size() > kMaxName)
    return error(Status::kInvalid, "the plugin's name or file has " + std::to_string(name.size()) +
                                       " bytes, more than " + std::to_string(kMaxName));
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; };
  if (std::any_of(name.begin(), name.end(), is_control))
    return error(Status::kInvalid, "the plugin's name or file has a control character");
  return {};
}

api::PluginLoadReply load(PluginLoader& loader, const std::string& name) {
  api::PluginLoadReply reply;
  const auto proper = check_name(name);
  auto loaded = proper ? loader.load_one(name) : Result<std::string>(proper.error());
  if (loaded) {
    reply.name = std::move(*loaded);
    return reply;
  }
  const Status why = loaded.error().code;
  reply.retval = why == Status::kRefused ? kInitFailed : api_retval(why);
  reply.reason = std::move(loaded.error().message);
  return reply;
}

}  // namespace

Result<void> add_plugin_api(ApiRegistry& registry, PluginLoader& loader) {
  if (auto added = registry.add_module(api::kPluginModule); !added) return added;
  registry.dump<api::PluginDump, api::PluginDetails>(
      [&loader](const api::PluginDump& request, uint64_t& cursor, api::PluginDetails& details) {
        if (cursor >= loader.list().size()) return ApiStep::kEnd;
        const PluginRow& row = loader.list()[cursor++];
        if (!request.name.empty() && row.name != request.name) return ApiStep::kSkip;
        describe(row, details);
        return ApiStep::kItem;
      });
  registry.handle<api::PluginLoad, api::PluginLoadReply>(
      [&loader](ApiCall&, const api::PluginLoad& request) { return load(loader, request.plugin); });
  return {};
}

}  // namespace loom
