#include "api/registry.h"

#include <algorithm>
#include <cstdio>

#include <hostloom/check.h>

namespace loom {

Result<void> ApiRegistry::add_module(const ApiModule& module) {
  for (const auto& m : modules_)
    if (std::string_view(m.module->name) == module.name)
      return error(Status::kExists,
                   "API module '" + std::string(module.name) + "' is there already");
  for (const auto& info : module.messages)
    if (const ApiModule* owner = module_of(info))
      return error(Status::kExists, "API message '" + std::string(info.name) + "' of module '" +
                                        module.name + "' is in module '" + owner->name +
                                        "' already");
  if (entries_.size() + module.messages.size() > 0xffffu - kFirstMessageId)
    return error(Status::kNoMemory,
                 "no message numbers left for module '" + std::string(module.name) + "'");
  modules_.push_back({&module, static_cast<uint16_t>(kFirstMessageId + entries_.size())});
  for (const auto& info : module.messages) {
    ids_[info.name] = static_cast<uint16_t>(kFirstMessageId + entries_.size());
    entries_.push_back({.info = info, .handler = {}});
  }
  return {};
}

void ApiRegistry::remove_module(const ApiModule& module) {
  const auto it = std::find_if(modules_.begin(), modules_.end(),
                               [&](const Module& m) { return m.module == &module; });
  if (it == modules_.end()) return;
  for (std::size_t i = 0; i < module.messages.size(); ++i) {
    Entry& entry = entries_[it->first_id - kFirstMessageId + i];
    subscriptions_.remove_kind(entry.info);
    ids_.erase(entry.info.name);
    entry = {.info = entry.info, .handler = {}, .is_removed = true};
  }
  modules_.erase(it);
}

Result<void> ApiRegistry::add_handler(const ApiHandler& handler) {
  const std::string name = handler.request->name;
  const auto it = ids_.find(name);
  if (it == ids_.end())
    return error(Status::kNotFound, "API message '" + name + "' is in no module");
  Entry& entry = entries_[it->second - kFirstMessageId];
  if (entry.info.crc != handler.request->crc)
    return error(Status::kInvalid,
                 "API message '" + name + "' has another layout than its handler");
  if (entry.handler.begin)
    return error(Status::kExists, "API message '" + name + "' has a handler already");
  entry.handler = handler;
  return {};
}

void ApiRegistry::remove_handler(const ApiMessageInfo& request) {
  if (const uint16_t id = id_of(request)) entries_[id - kFirstMessageId].handler = {};
}

uint16_t ApiRegistry::id_of(const ApiMessageInfo& info) const {
  const auto it = ids_.find(info.name);
  return it == ids_.end() ? uint16_t{0} : it->second;
}

const ApiModule* ApiRegistry::module_of(const ApiMessageInfo& info) const {
  const uint16_t id = id_of(info);
  if (id == 0) return nullptr;
  // In the order of their numbers.
  return std::find_if(modules_.rbegin(), modules_.rend(),
                      [&](const Module& m) { return m.first_id <= id; })
      ->module;
}

const ApiRegistry::Entry* ApiRegistry::find(uint16_t id) const {
  if (id < kFirstMessageId || static_cast<std::size_t>(id - kFirstMessageId) >= entries_.size())
    return nullptr;
  return &entries_[id - kFirstMessageId];
}

std::string api_table_name(const ApiMessageInfo& info) {
  char crc[10];
  std::snprintf(crc, sizeof crc, "_%08x", info.crc);
  return (info.name + std::string(crc)).substr(0, 63);
}

}  // namespace loom
