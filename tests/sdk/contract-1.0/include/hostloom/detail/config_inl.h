#pragma once
#include <algorithm>
#include <charconv>

namespace loom {

inline Result<uint64_t> parse_number(std::string_view text) {
  int base = 10;
  std::string_view digits = text;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    base = 16;
    digits.remove_prefix(2);
  }
  uint64_t value = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (ec != std::errc{} || end != digits.data() + digits.size() || digits.empty())
    return error(Status::kInvalid, "'" + std::string(text) + "' is not a number");
  return value;
}

inline Result<uint64_t> parse_size(std::string_view text) {
  unsigned shift = 0;
  std::string_view digits = text;
  if (!digits.empty() && !digits.starts_with("0x")) {
    switch (digits.back()) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
      default:
        break;
    }
    if (shift) digits.remove_suffix(1);
  }
  const auto value = parse_number(digits);
  if (!value || (*value << shift) >> shift != *value)
    return error(Status::kInvalid,
                 "'" + std::string(text) + "' is not a size (a number, optionally with k, m or g)");
  return *value << shift;
}

inline std::string_view nearest_name(std::string_view word,
                                     const std::vector<std::string_view>& known) {
  std::string_view best;
  std::size_t best_distance = ~std::size_t{0};
  for (const auto name : known) {
    // Optimal string alignment distance over three rows.
    std::vector<std::size_t> before(name.size() + 1), row(name.size() + 1), next(name.size() + 1);
    for (std::size_t j = 0; j <= name.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= word.size(); ++i) {
      next[0] = i;
      for (std::size_t j = 1; j <= name.size(); ++j) {
        const bool same = word[i - 1] == name[j - 1];
        next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (same ? 0 : 1)});
        if (i > 1 && j > 1 && word[i - 1] == name[j - 2] && word[i - 2] == name[j - 1])
          next[j] = std::min(next[j], before[j - 2] + 1);
      }
      std::swap(before, row);
      std::swap(row, next);
    }
    if (row[name.size()] < best_distance) {
      best_distance = row[name.size()];
      best = name;
    }
  }
  return best_distance <= std::max<std::size_t>(1, best.size() / 3) ? best : std::string_view{};
}

inline Result<std::string> ConfigReader::text(const ConfigNode& key) {
  const ConfigNode* value = next();
  if (!value || value->word.empty()) return key.fail("'" + key.word + "' needs a value");
  if (value->has_block) return value->fail("'" + key.word + " " + value->word + "' takes no block");
  return value->word;
}

inline Result<uint64_t> ConfigReader::number(const ConfigNode& key, uint64_t least, uint64_t most) {
  const auto word = text(key);
  if (!word) return word.error();
  const auto value = parse_number(*word);
  if (!value || *value < least || *value > most)
    return key.fail("'" + key.word + " " + *word + "': a number from " + std::to_string(least) +
                    " to " + std::to_string(most) + " is needed");
  return *value;
}

inline Result<uint64_t> ConfigReader::size(const ConfigNode& key, uint64_t least, uint64_t most) {
  const auto word = text(key);
  if (!word) return word.error();
  const auto value = parse_size(*word);
  if (!value || *value < least || *value > most)
    return key.fail("'" + key.word + " " + *word + "': a size from " + std::to_string(least) +
                    " to " + std::to_string(most) + " bytes is needed (suffix k, m or g)");
  return *value;
}

inline Error ConfigReader::unknown(const ConfigNode& word,
                                   const std::vector<std::string_view>& known) const {
  const std::string_view near = nearest_name(word.word, known);
  return word.fail("unknown key '" + word.word + "' in '" + stanza_.word + "'" +
                   (near.empty() ? "" : "; did you mean '" + std::string(near) + "'?"));
}

}  // namespace loom
