// A JSON value as error messages show it: as much of it as a line takes.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace loom {

inline std::string json_excerpt(const nlohmann::json& value) {
  constexpr std::size_t kMost = 80;
  auto text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMost) text = text.substr(0, kMost - 3) + "...";
  return text;
}

}  // namespace loom
