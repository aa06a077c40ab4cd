// The argument syntax that commands document, read by a machine: which words may come next.
//   up|down        one of these
//   NAME           a placeholder: begins with a capital letter, and stands for one word
//   [x N]          may be left out; several such beside each other may come in any order, each once
//   A N | B        alternatives, when there is space around the bar
//   {a|b}          groups     ...  any words
// A hint and no more: the command itself decides what it takes. Any thread; nothing is kept.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace loom {

struct CliExpected {
  std::vector<std::string> next;  // words and placeholders, in the syntax's order, each once
  bool may_end = false;           // the words are complete as they are
};

inline bool is_placeholder(std::string_view word) {
  return !word.empty() && word[0] >= 'A' && word[0] <= 'Z';
}

// What may follow `words`. Nothing at all when the words do not fit the syntax.
CliExpected expected_words(std::string_view syntax, std::span<const std::string_view> words);

}  // namespace loom
