// Completion: what may stand where the cursor is, from the tree, the commands' syntax and the names
// of things that are there.
#include <algorithm>

#include "cli/syntax.h"
#include "cli/tree.h"

namespace loom {
namespace {

constexpr std::size_t kMaxCandidates = 1000;
constexpr std::size_t kMaxHint = 60;  // of the words behind a word

}  // namespace

void CliTree::add_values(std::string placeholder,
                         std::function<std::vector<std::string>()> values) {
  values_[std::move(placeholder)] = std::move(values);
}

// What a word of a path is for: its command's help, or the words that follow it.
std::string CliTree::hint(const Node& node) {
  if (node.command) return node.command->help ? node.command->help : "";
  std::string text;
  for (const auto& [word, child] : node.children) {
    if (text.size() + word.size() > kMaxHint) return text + ", ...";
    (text += text.empty() ? "" : ", ") += word;
  }
  return text;
}

void CliTree::complete_arguments(const CliCommand& command, std::span<const std::string_view> words,
                                 std::string_view start, CliCompletion& to) const {
  const auto add = [&](std::string_view word, std::string_view help, bool is_value) {
    if (word.starts_with(start) && to.candidates.size() < kMaxCandidates)
      to.candidates.push_back({std::string(word), std::string(help), is_value});
  };
  auto expected = expected_words(command.syntax ? command.syntax : "", words);
  to.is_whole = expected.may_end;
  for (const auto& word : expected.next) {
    if (!is_placeholder(word)) {
      add(word, "", false);
    } else if (const auto known = values_.find(word); known != values_.end()) {
      for (const auto& value : known->second()) add(value, word, false);
    } else {
      to.candidates.push_back({word, "", true});  // whatever has been typed of it
    }
  }
}

Result<CliCompletion> CliTree::complete(std::string_view line, std::size_t cursor) const {
  if (cursor > line.size())
    return error(Status::kInvalid, "cursor " + std::to_string(cursor) + " is behind the line's " +
                                       std::to_string(line.size()) + " characters");
  line = line.substr(0, cursor);
  const auto split = split_cli_line(line);
  if (!split) return split.error();
  std::span<const std::string_view> words(*split);
  CliCompletion to;
  to.start = cursor;
  std::string_view start;
  std::string_view rest = line;  // behind the last word
  if (!words.empty())
    rest.remove_prefix(static_cast<std::size_t>(words.back().data() - line.data()) +
                       words.back().size());
  if (!words.empty() && rest.empty()) {
    start = words.back();
    words = words.first(words.size() - 1);
    to.start -= start.size();
  } else {
    if (rest.starts_with('"')) rest.remove_prefix(1);
    const bool is_comment = rest.find_first_not_of(" \t\r\n") != rest.npos;
    if (is_comment || (rest.empty() && !line.empty())) return to;  // or right behind a quote
  }

  // Both may stand in front of any command, in this order.
  std::size_t at = 0;
  bool is_help = false;
  if (at < words.size() && words[at] == "json") ++at;
  const bool may_be_json = words.empty();
  if (at < words.size() && words[at] == "help") is_help = true, ++at;
  const std::size_t first = at;

  const auto found = find(words, at);
  if (!found) return found.error();
  const Node& node = **found;
  const auto add = [&](std::string_view word, std::string help) {
    if (word.starts_with(start))
      to.candidates.push_back({std::string(word), std::move(help), false});
  };
  if (at == words.size()) {
    for (const auto& [word, child] : node.children) add(word, hint(*child));
    if (at == first && !is_help) {
      if (may_be_json) add("json", "The answer as JSON.");
      add("help", "Explains the commands that begin with the words behind it.");
    }
  }
  if (node.command) {
    const CliCommand& c = *node.command;
    to.usage =
        std::string(c.path) + (c.syntax && *c.syntax ? " " : "") + (c.syntax ? c.syntax : "");
    to.help = c.help ? c.help : "";
    if (!is_help) complete_arguments(c, words.subspan(at), start, to);
  }
  return to;
}

}  // namespace loom
