#include "client/message_table.h"

#include <algorithm>
#include <cstdio>

namespace loom {
namespace {

bool is_crc(std::string_view text) {
  return text.size() == 8 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

std::string api_table_entry(const ApiMessageInfo& message) {
  char crc[10];
  std::snprintf(crc, sizeof crc, "_%08x", message.crc);
  return (message.name + std::string(crc)).substr(0, 63);
}

bool MessageTable::knows(const ApiMessageInfo& message) const {
  return ids_.contains(api_table_entry(message));
}

std::string MessageTable::entry_of(std::string_view name) const {
  const std::string prefix = std::string(name) + "_";
  for (auto it = ids_.lower_bound(prefix); it != ids_.end() && it->first.starts_with(prefix); ++it)
    if (is_crc(std::string_view(it->first).substr(prefix.size()))) return it->first;
  return {};
}

Result<uint16_t> MessageTable::id_of(const ApiMessageInfo& message) const {
  const auto it = ids_.find(api_table_entry(message));
  if (it != ids_.end()) return it->second;
  const std::string other = entry_of(message.name);
  if (other.empty())
    return error(Status::kUnsupported, "the daemon has no message " + api_table_entry(message));
  return error(Status::kUnsupported, "the daemon's " + std::string(message.name) +
                                         " has another layout: it speaks " + other +
                                         ", this client " + api_table_entry(message));
}

std::vector<std::string> MessageTable::entries() const {
  std::vector<std::string> all;
  all.reserve(ids_.size());
  for (const auto& [entry, id] : ids_) all.push_back(entry);
  return all;
}

}  // namespace loom
