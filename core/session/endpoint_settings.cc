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

void EndpointSettings::tell_gone(uint32_t number) const {
  tell_transports(transports_, &TransportOps::settings_gone, number);
}

// Those that are not there yet are nobody's pairs: a transport has not found them either.
void EndpointSettings::take_pairs(Entry& e) {
  (void)read_settings(e.bytes, [&](Setting type, std::string_view value) {
    if (type != Setting::kPair) return;
    const auto pair = entries_.find(number_setting(value));
    if (pair == entries_.end() || pair->second.app != e.app || pair->second.is_removed) return;
    e.pairs.push_back(pair->first);
    ++pair->second.users;
  });
}

void EndpointSettings::drop(uint32_t number) {
  for (std::vector<uint32_t> left{number}; !left.empty();) {
    const auto it = entries_.find(left.back());
    left.pop_back();
    Entry& e = it->second;
    if (!e.is_removed || e.users != 0) continue;
    if (e.memory) e.memory->give_back(e.charge);
    for (const uint32_t pair : e.pairs)
      if (--entries_.at(pair).users == 0) left.push_back(pair);
    entries_.erase(it);
  }
}

void EndpointSettings::end(uint32_t number) {
  Entry& e = entries_.at(number);
  e.is_removed = true;
  SecretString().swap(e.bytes);  // cleared, which what is assigned to is not
  drop(number);
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
  entry.app = owner;
  entry.charge = charge_of(bytes.size());
  if (entry.memory)
    if (auto taken = entry.memory->take(entry.charge, MemoryUse::kSettings); !taken)
      return taken.error();
  if (entry.memory) take_pairs(entry);
  do last_ = last_ % 0x7fffffff + 1;  // an int to programs
  while (entries_.contains(last_));
  const uint32_t number = last_;
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
  if (it == entries_.end() || it->second.app != owner || !it->second.may_be_named())
    return Status::kNotFound;
  --of_app_[owner];
  end(number);
  lock.unlock();
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
    std::erase_if(entries_, [&](auto& each) {
      const Entry& e = each.second;
      if (e.app != app.serial) return false;
      if (!e.is_removed) gone.push_back(each.first);
      if (e.memory) e.memory->give_back(e.charge);
      return true;
    });
    std::erase_if(used_, [&](uint32_t number) { return !entries_.contains(number); });
  }
  for (const uint32_t number : gone) tell_gone(number);
}

template <class Entries>
auto EndpointSettings::own(Entries& entries, const App& app, uint32_t number) noexcept
    -> decltype(&entries.begin()->second) {
  const auto it = entries.find(number);
  const bool is_own = it != entries.end() && it->second.app == app.serial;
  return is_own && it->second.may_be_named() ? &it->second : nullptr;
}

bool EndpointSettings::has(const App& app, uint32_t number) const {
  const std::lock_guard lock(mutex_);
  return own(entries_, app, number) != nullptr;
}

bool EndpointSettings::hold(const App& app, uint32_t number) noexcept {
  const std::lock_guard lock(mutex_);
  Entry* const e = own(entries_, app, number);
  if (e) ++e->users;
  return e != nullptr;
}

bool EndpointSettings::let_go(uint32_t number) noexcept {
  const std::lock_guard lock(mutex_);
  Entry& e = entries_.at(number);
  if (--e.users != 0 || !e.is_removed) return false;
  used_.push_back(number);
  return used_.size() == 1;
}

const EndpointSettings::Entry* EndpointSettings::readable(uint32_t named, uint32_t number) const {
  const auto by = entries_.find(named), it = entries_.find(number);
  if (by == entries_.end() || it == entries_.end() || it->second.is_removed) return nullptr;
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
  Entry* const e = own(entries_, app, number);
  if (!e || !e->once) return false;
  e->is_used = true;
  --of_app_.find(app.serial)->second;
  used_.push_back(number);
  return used_.size() == 1;
}

void EndpointSettings::take_away_used() {
  std::vector<uint32_t> gone;
  {
    const std::lock_guard lock(mutex_);
    for (const uint32_t number : used_) {
      if (entries_.at(number).is_removed) {
        drop(number);
        continue;
      }
      gone.push_back(number);
      end(number);
    }
    used_.clear();
  }
  for (const uint32_t number : gone) tell_gone(number);
}

}  // namespace loom::session
