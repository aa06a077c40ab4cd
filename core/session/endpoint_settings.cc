#include "session/endpoint_settings.h"

#include <hostloom/endpoint_settings.h>

#include "session/application.h"

namespace loom::session {

Result<uint32_t> EndpointSettings::add(const App& app, std::string bytes, bool once) {
  if (bytes.size() > kMostSettingsBytes || !read_settings(bytes, [](Setting, std::string_view) {}))
    return error(Status::kInvalid, "these are not settings of an endpoint");
  const std::lock_guard lock(mutex_);
  uint32_t& n = of_app_[app.serial];
  if (n >= kMostOfApp)
    return error(Status::kNoMemory, "application '" + app.name + "' has the " +
                                        std::to_string(kMostOfApp) + " settings that it may have");
  do last_ = last_ % 0x7fffffff + 1;  // an int to programs
  while (entries_.contains(last_));
  entries_.try_emplace(last_, app.serial, once, std::move(bytes));
  ++n;
  return last_;
}

Status EndpointSettings::remove(const App& app, uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  if (it == entries_.end() || it->second.app != app.serial) return Status::kNotFound;
  entries_.erase(it);
  --of_app_[app.serial];
  return Status::kOk;
}

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
  if (by == entries_.end() || it == entries_.end() || by->second.app != it->second.app)
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
