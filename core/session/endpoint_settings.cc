#include "session/endpoint_settings.h"

#include <hostloom/endpoint_settings.h>

#include "session/namespaces.h"

namespace loom::session {

Result<uint32_t> EndpointSettings::add(uint64_t owner, const std::string& who, std::string bytes,
                                       bool once, bool may_name_operators) {
  if (bytes.size() > kMostSettingsBytes || !read_settings(bytes, [](Setting, std::string_view) {}))
    return error(Status::kInvalid, "these are not settings of an endpoint");
  const std::lock_guard lock(mutex_);
  uint32_t& n = of_app_[owner];
  if (n >= kMostOfApp)
    return error(Status::kNoMemory,
                 who + " has the " + std::to_string(kMostOfApp) + " settings that it may have");
  do last_ = last_ % 0x7fffffff + 1;  // an int to programs
  while (entries_.contains(last_));
  entries_.try_emplace(last_, owner, once, may_name_operators, std::move(bytes));
  ++n;
  return last_;
}

Result<uint32_t> EndpointSettings::add(const App& app, std::string bytes, bool once) {
  return add(app.serial, "application '" + app.name + "'", std::move(bytes), once,
             app.ns->is_default());
}

Result<uint32_t> EndpointSettings::add_of_operator(std::string bytes) {
  return add(kOperator, "the operator", std::move(bytes), false, false);
}

Status EndpointSettings::remove(uint64_t owner, uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  if (it == entries_.end() || it->second.app != owner) return Status::kNotFound;
  entries_.erase(it);
  --of_app_[owner];
  return Status::kOk;
}

Status EndpointSettings::remove(const App& app, uint32_t number) {
  return remove(app.serial, number);
}

Status EndpointSettings::remove_of_operator(uint32_t number) { return remove(kOperator, number); }

void EndpointSettings::remove_all(const App& app) {
  const std::lock_guard lock(mutex_);
  if (of_app_.erase(app.serial) != 0)
    std::erase_if(entries_, [&](const auto& e) { return e.second.app == app.serial; });
}

bool EndpointSettings::has(const App& app, uint32_t number) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  return it != entries_.end() && it->second.app == app.serial;
}

Status EndpointSettings::read(uint32_t named, uint32_t number, std::string* out) const {
  const std::lock_guard lock(mutex_);
  const auto by = entries_.find(named), it = entries_.find(number);
  if (by == entries_.end() || it == entries_.end()) return Status::kNotFound;
  if (by->second.app != it->second.app &&
      !(it->second.app == kOperator && by->second.may_name_operators))
    return Status::kNotFound;
  *out = it->second.bytes;
  return Status::kOk;
}

void EndpointSettings::used(const App& app, uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  if (it == entries_.end() || it->second.app != app.serial || !it->second.once) return;
  entries_.erase(it);
  --of_app_[app.serial];
}

}  // namespace loom::session
