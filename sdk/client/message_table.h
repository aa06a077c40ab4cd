// The messages that one daemon speaks, as it lists them when a client connects: this run's number
// for each "NAME_CRC".
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/status.h>

namespace loom {

// "show_version_51077d14", cut to 63 bytes as the daemon cuts it.
std::string api_table_entry(const ApiMessageInfo& message);

class MessageTable {
 public:
  void add(std::string entry, uint16_t id) { ids_[std::move(entry)] = id; }
  bool knows(const ApiMessageInfo& message) const;
  // Errors: kUnsupported; the message says whether the daemon has no such name, or another layout
  // of it.
  Result<uint16_t> id_of(const ApiMessageInfo& message) const;
  // By name alone, whatever the CRC: the entry, or empty.
  std::string entry_of(std::string_view name) const;
  std::vector<std::string> entries() const;

 private:
  std::map<std::string, uint16_t, std::less<>> ids_;  // by NAME_CRC
};

}  // namespace loom
