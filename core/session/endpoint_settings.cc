#include "session/endpoint_settings.h"

#include <hostloom/endpoint_settings.h>

#include <utility>
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

void EndpointSettings::gone(const Entry& e, uint32_t number) const {
  tell_transports(transports_, &TransportOps::settings_gone, number);
  if (e.memory) e.memory->give_back(charge_of(e.bytes.size()));
}

Result<uint32_t> EndpointSettings::add(uint64_t owner, const std::string& who, Entry entry) {
  const SecretString& bytes = entry.bytes;
  if (bytes.size() > kMostSettingsBytes || !read_settings(bytes, [](Setting, std::string_view) {}))
    return error(Status::kInvalid, "these are not settings of an endpoint");
  std::unique_lock lock(mutex_);
  uint32_t& n = of_app_[owner];
  if (n >= kMostOfApp)
    return error(Status::kNoMemory,
                 who + " has the " + std::to_string(kMostOfApp) + " settings that it may have");
  if (entry.memory)
    if (auto taken = entry.memory->take(charge_of(bytes.size()), MemoryUse::kSettings); !taken)
      return taken.error();
  do last_ = last_ % 0x7fffffff + 1;  // an int to programs
  while (entries_.contains(last_));
  const uint32_t number = last_;
  entry.app = owner;
  entries_.try_emplace(number, std::move(entry));
  used_.reserve(entries_.size());
  ++n;
  lock.unlock();
  tell_transports(transports_, &TransportOps::settings_given, number);
  lock.lock();
  entries_.at(number).is_known = true;
  return number;
}

Result<uint32_t> EndpointSettings::add(App& app, SecretString bytes, bool once) {
  take_away_used();  // what they were charged is free again
  return add(app.serial, "application '" + app.name + "'",
             {.once = once,
              .may_name_operators = app.ns->is_default(),
              .memory = &app.memory,
              .bytes = std::move(bytes)});
}

Result<uint32_t> EndpointSettings::add_of_operator(SecretString bytes) {
  return add(kOperator, "the operator", {.bytes = std::move(bytes)});
}

Status EndpointSettings::remove(uint64_t owner, uint32_t number) {
  std::unique_lock lock(mutex_);
  const auto it = entries_.find(number);
  if (it == entries_.end() || it->second.app != owner || it->second.is_used)
    return Status::kNotFound;
  const auto node = entries_.extract(it);
  --of_app_[owner];
  lock.unlock();
  gone(node.mapped(), number);
  return Status::kOk;
}

Status EndpointSettings::remove(const App& app, uint32_t number) {
  return remove(app.serial, number);
}

Status EndpointSettings::remove_of_operator(uint32_t number) { return remove(kOperator, number); }

void EndpointSettings::remove_all(const App& app) {
  std::vector<std::pair<uint32_t, Entry>> had;
  {
    const std::lock_guard lock(mutex_);
    if (of_app_.erase(app.serial) == 0) return;
    std::erase_if(entries_, [&](auto& e) {
      if (e.second.app != app.serial) return false;
      had.emplace_back(e.first, std::move(e.second));
      return true;
    });
    std::erase_if(used_, [&](uint32_t number) { return !entries_.contains(number); });
  }
  for (const auto& [number, e] : had) gone(e, number);
}

bool EndpointSettings::has(const App& app, uint32_t number) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  return it != entries_.end() && it->second.app == app.serial && it->second.is_known &&
         !it->second.is_used;
}

const EndpointSettings::Entry* EndpointSettings::readable(uint32_t named, uint32_t number) const {
  const auto by = entries_.find(named), it = entries_.find(number);
  if (by == entries_.end() || it == entries_.end()) return nullptr;
  if (by->second.app != it->second.app &&
      !(it->second.app == kOperator && by->second.may_name_operators))
    return nullptr;
  return &it->second;
}

Status EndpointSettings::read(uint32_t named, uint32_t number, std::string* out) const {
  const std::lock_guard lock(mutex_);
  const Entry* const e = readable(named, number);
  if (!e) return Status::kNotFound;
  *out = std::string_view(e->bytes);
  return Status::kOk;
}

uint64_t EndpointSettings::charge_for_listener(const App& app, uint32_t number) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  if (it == entries_.end() || it->second.app != app.serial) return 0;
  uint64_t charge = charge_of(it->second.bytes.size());
  (void)read_settings(it->second.bytes, [&](Setting type, std::string_view value) {
    if (type != Setting::kPair) return;
    if (const Entry* pair = readable(number, number_setting(value)))
      charge += charge_of(pair->bytes.size());
  });
  return charge;
}

bool EndpointSettings::used(const App& app, uint32_t number) noexcept {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(number);
  if (it == entries_.end() || it->second.app != app.serial || !it->second.once ||
      !it->second.is_known || it->second.is_used)
    return false;
  it->second.is_used = true;
  --of_app_.find(app.serial)->second;
  used_.push_back(number);
  return used_.size() == 1;
}

void EndpointSettings::take_away_used() {
  std::vector<std::pair<uint32_t, Entry>> had;
  {
    const std::lock_guard lock(mutex_);
    for (const uint32_t number : used_) {
      auto node = entries_.extract(number);
      had.emplace_back(number, std::move(node.mapped()));
    }
    used_.clear();
  }
  for (const auto& [number, e] : had) gone(e, number);
}

}  // namespace loom::session
