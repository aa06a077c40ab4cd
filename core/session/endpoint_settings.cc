#include "session/endpoint_settings.h"

#include <hostloom/endpoint_settings.h>

#include <vector>

#include "session/namespaces.h"

namespace loom::session {
namespace {

template <class Fn>
void tell_transports(const TransportRegistry& transports, Fn TransportOps::*entry,
                     uint32_t number) {
  for (TransportId id = 0; id < transports.end_id(); ++id)
    if (const TransportOps* ops = transports.get(id); ops && ops->*entry) (ops->*entry)(number);
}

}  // namespace

void EndpointSettings::tell_gone(uint32_t number) const {
  tell_transports(transports_, &TransportOps::settings_gone, number);
}

Result<uint32_t> EndpointSettings::add(uint64_t owner, const std::string& who, SecretString bytes,
                                       bool once, bool may_name_operators) {
  if (bytes.size() > kMostSettingsBytes || !read_settings(bytes, [](Setting, std::string_view) {}))
    return error(Status::kInvalid, "these are not settings of an endpoint");
  std::unique_lock lock(mutex_);
  uint32_t& n = of_app_[owner];
  if (n >= kMostOfApp)
    return error(Status::kNoMemory,
                 who + " has the " + std::to_string(kMostOfApp) + " settings that it may have");
  do last_ = last_ % 0x7fffffff + 1;  // an int to programs
  while (entries_.contains(last_));
  const uint32_t number = last_;
  entries_.try_emplace(number, owner, once, may_name_operators, std::move(bytes));
  ++n;
  lock.unlock();
  tell_transports(transports_, &TransportOps::settings_given, number);
  lock.lock();
  entries_.at(number).is_known = true;
  return number;
}

Result<uint32_t> EndpointSettings::add(const App& app, SecretString bytes, bool once) {
  return add(app.serial, "application '" + app.name + "'", std::move(bytes), once,
             app.ns->is_default());
}

Result<uint32_t> EndpointSettings::add_of_operator(SecretString bytes) {
  return add(kOperator, "the operator", std::move(bytes), false, false);
}

Status EndpointSettings::remove(uint64_t owner, uint32_t number) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(number);
    if (it == entries_.end() || it->second.app != owner) return Status::kNotFound;
    entries_.erase(it);
    --of_app_[owner];
  }
  tell_gone(number);
  return Status::kOk;
}

Status EndpointSettings::remove(const App& app, uint32_t number) {
  return remove(app.serial, number);
}

Status EndpointSettings::remove_of_operator(uint32_t number) { return remove(kOperator, number); }

void EndpointSettings::remove_all(const App& app) {
  std::vector<uint32_t> gone;
  {
    const std::lock_guard lock(mutex_);
    if (of_app_.erase(app.serial) == 0) return;
    std::erase_if(entries_, [&](const auto& e) {
      if (e.second.app != app.serial) return false;
      gone.push_back(e.first);
      return true;
    });
  }
  for (const uint32_t number : gone) tell_gone(number);
}

bool EndpointSettings::has(const App& app, uint32_t number) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  return it != entries_.end() && it->second.app == app.serial && it->second.is_known;
}

Status EndpointSettings::read(uint32_t named, uint32_t number, std::string* out) const {
  const std::lock_guard lock(mutex_);
  const auto by = entries_.find(named), it = entries_.find(number);
  if (by == entries_.end() || it == entries_.end()) return Status::kNotFound;
  if (by->second.app != it->second.app &&
      !(it->second.app == kOperator && by->second.may_name_operators))
    return Status::kNotFound;
  *out = std::string_view(it->second.bytes);
  return Status::kOk;
}

void EndpointSettings::used(const App& app, uint32_t number) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(number);
    if (it == entries_.end() || it->second.app != app.serial || !it->second.once ||
        !it->second.is_known)
      return;
    entries_.erase(it);
    --of_app_[app.serial];
  }
  tell_gone(number);
}

}  // namespace loom::session
