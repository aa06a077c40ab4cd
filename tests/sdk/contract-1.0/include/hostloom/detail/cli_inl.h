#pragma once
#include <hostloom/config.h>

namespace loom {

inline Result<uint64_t> CliArgs::number(std::string_view what, uint64_t least, uint64_t most) {
  if (done()) return error(Status::kInvalid, "missing " + std::string(what) + " at the end");
  const std::size_t position = at_ + 1;
  const std::string_view word = next();
  const auto value = parse_size(word);
  if (!value || *value < least || *value > most)
    return error(Status::kInvalid, std::string(what) + " '" + std::string(word) + "' at position " +
                                       std::to_string(position) + " is not a number from " +
                                       std::to_string(least) + " to " + std::to_string(most));
  return *value;
}

}  // namespace loom
