// What the conversation makes of the daemon's answer to cli_complete: what Tab inserts, and the
// list that Tab and ? show.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace loomctl {

struct Candidate {
  std::string word, help;
  bool is_value = false;  // only names what has to be typed
};

// What Tab adds behind `typed`: what all candidates begin with, and a space when there is only one.
// Empty: nothing can be added, and the list helps on.
std::string insertion(const std::vector<Candidate>& candidates, std::string_view typed);

// A line a candidate, "  word  help", cut to `columns`; words alone, side by side, when that would
// be more than `rows` lines. bold: how words are made to stand out, or empty.
std::string listing(const std::vector<Candidate>& candidates, std::size_t columns, std::size_t rows,
                    bool bold);

}  // namespace loomctl
