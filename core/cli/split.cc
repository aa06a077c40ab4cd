// Splitting a command line into words.
#include "cli/tree.h"

namespace loom {

Result<std::vector<std::string_view>> split_cli_line(std::string_view line) {
  if (line.size() > kMaxCliLine)
    return error(Status::kInvalid,
                 "line is longer than " + std::to_string(kMaxCliLine) + " characters");
  constexpr std::string_view kSpace = " \t\r\n";
  std::vector<std::string_view> words;
  for (std::size_t at = line.find_first_not_of(kSpace); at != line.npos;
       at = line.find_first_not_of(kSpace, at)) {
    if (line[at] == '#') {  // to the end of its line, of the several that a script may give
      at = line.find('\n', at);
      if (at == line.npos) break;
      continue;
    }
    const bool is_quoted = line[at] == '"';
    if (is_quoted) ++at;
    const std::size_t end =
        is_quoted ? line.find('"', at) : std::min(line.find_first_of(kSpace, at), line.size());
    if (end == line.npos)
      return error(Status::kInvalid,
                   "the quote at position " + std::to_string(words.size() + 1) + " is not closed");
    words.push_back(line.substr(at, end - at));
    at = end + is_quoted;
  }
  return words;
}

}  // namespace loom
