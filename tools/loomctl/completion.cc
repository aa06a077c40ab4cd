#include "completion.h"

#include <algorithm>

namespace loomctl {
namespace {

std::string shown(const Candidate& c, std::size_t width, bool bold) {
  std::string text = bold && !c.is_value ? "\x1b[1m" + c.word + "\x1b[0m" : c.word;
  if (c.word.size() < width) text.append(width - c.word.size(), ' ');
  return text;
}

}  // namespace

std::string insertion(const std::vector<Candidate>& candidates, std::string_view typed) {
  std::string common;
  std::size_t n = 0;
  bool has_values = false;
  for (const auto& c : candidates) {
    has_values |= c.is_value;
    if (c.is_value || !c.word.starts_with(typed)) continue;
    if (n++ == 0) {
      common = c.word;
    } else {
      const auto end = std::mismatch(common.begin(), common.end(), c.word.begin(), c.word.end());
      common.erase(end.first, common.end());
    }
  }
  if (n == 0) return "";
  common.erase(0, typed.size());
  // Where any word may stand, Tab finishes a word that was begun, and chooses none.
  if (has_values && typed.empty()) return "";
  return n == 1 ? common + ' ' : common;
}

std::string listing(const std::vector<Candidate>& candidates, std::size_t columns, std::size_t rows,
                    bool bold) {
  std::size_t width = 0;
  for (const auto& c : candidates) width = std::max(width, c.word.size());
  std::string text;
  if (candidates.size() <= rows) {
    for (const auto& c : candidates) {
      text += "  " + shown(c, c.help.empty() ? 0 : width, bold);
      const std::size_t used = 2 + width + 2;
      if (!c.help.empty() && used < columns) text += "  " + c.help.substr(0, columns - used);
      text += '\n';
    }
    return text;
  }
  const std::size_t per_line = std::max<std::size_t>(1, columns / (width + 2));
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const bool is_last = (i + 1) % per_line == 0 || i + 1 == candidates.size();
    text += "  " + shown(candidates[i], is_last ? 0 : width, bold) + (is_last ? "\n" : "");
  }
  return text;
}

}  // namespace loomctl
