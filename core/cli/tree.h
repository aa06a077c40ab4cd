// The command tree: finds the command that a line names, and runs it. Control thread.
//
// A command is registered under a path of words ("show tcp stats"). Each word of a line may be cut
// to a unique prefix ("sh tc st"); a whole word always wins over longer ones. What follows the path
// is the command's arguments. The words "help" in front, or "?" at the end, explain instead of
// running; "json" in front asks for the answer as JSON: `json show version`.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/cli.h>

namespace loom {

constexpr std::size_t kMaxCliLine = 64u << 10;

// What one line came to.
struct CliOutcome {
  Status status = Status::kOk;
  std::string text;  // rendered reply, or the error's sentence; ends with a newline unless empty
};

class CliTree {
 public:
  CliTree();
  // kExists when the path is taken, kInvalid when it is empty or has no run function. The command
  // must live as long as the tree.
  Result<void> add(const CliCommand& command);

  // Runs one line. An empty line or a comment does nothing, successfully.
  CliOutcome run(Host& host, std::string_view line) const;
  // Runs every line of `text` and appends what they answer to `out`. Stops at the first that fails:
  // "setup.cli:3: ...".
  Result<void> run_script(Host& host, std::string_view text, const std::string& name,
                          std::string& out) const;
  Result<void> run_file(Host& host, const std::string& path, std::string& out) const;

  // Every command in alphabetical order of its path.
  std::vector<const CliCommand*> commands() const;

 private:
  struct Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> children;
    const CliCommand* command = nullptr;
  };
  // Follows words from words[at] on; moves `at` behind the last word that is part of a path.
  Result<const Node*> find(std::span<const std::string_view> words, std::size_t& at) const;
  Result<void> help(std::span<const std::string_view> words, std::size_t at, CliReply& reply) const;
  static void collect(const Node& node, std::vector<const CliCommand*>& out);

  Node root_;
};

// Splits a line at white space. "a b" is one word; a word that starts with # begins a comment.
// The views point into `line`.
Result<std::vector<std::string_view>> split_cli_line(std::string_view line);

}  // namespace loom
