// A JSON value as error messages show it: as much of it as a line takes, and always UTF-8.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace loom {

inline std::string json_excerpt(const nlohmann::json& value) {
  constexpr std::size_t kMost = 80;
  auto text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() <= kMost) return text;
  std::size_t end = kMost - 3;
  while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // within a character
  return text.substr(0, end) + "...";
}

}  // namespace loom
