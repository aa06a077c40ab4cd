// The command tree: finds the command that a line names, and runs it. Control thread.
//
// A command is registered under a path of words ("show tcp stats"). Each word of a line may be cut
// to a unique prefix ("sh tc st"); a whole word always wins over longer ones. What follows the path
// is the command's arguments. The words "help" in front, or "?" at the end, explain instead of
// running; "json" in front asks for the answer as JSON: `json show version`.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
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
  bool is_json = false;
  std::string usage{};  // of the command that ran, path and arguments
};

// A word that may stand at the cursor.
struct CliCandidate {
  std::string word, help;
  bool is_value = false;  // `word` only names what has to be typed there: "ADDRESS"
};
struct CliCompletion {
  std::size_t start = 0;    // where the word that is being typed begins
  bool is_whole = false;    // the words before it are a command as they are
  std::string usage, help;  // of that command, also when it is not complete yet
  std::vector<CliCandidate> candidates;
};

class CliTree {
 public:
  CliTree();
  // kExists when the path is taken, kInvalid when it is empty or has no run function. The command
  // must live as long as the tree.
  Result<void> add(const CliCommand& command);

  // Runs one line. An empty line or a comment does nothing, successfully.
  CliOutcome run(Host& host, std::string_view line) const;
  // The same for one who can wait: `done` is called once, before this returns, or later on the
  // control thread by a command that answers later.
  using Done = std::function<void(CliOutcome)>;
  void run(Host& host, std::string_view line, Done done) const;
  // Runs every line of `text` and appends what they answer to `out`. Stops at the first that fails:
  // "setup.cli:3: ...".
  Result<void> run_script(Host& host, std::string_view text, const std::string& name,
                          std::string& out) const;
  Result<void> run_file(Host& host, const std::string& path, std::string& out) const;

  // What may stand at `cursor`, a place in `line`; what is behind it does not count. Candidates
  // begin with what has been typed of the word. Errors: what run() would say of the words before.
  Result<CliCompletion> complete(std::string_view line, std::size_t cursor) const;
  // Names that may stand for a placeholder of the commands' syntax: "INTERFACE". Called by
  // complete().
  void add_values(std::string placeholder, std::function<std::vector<std::string>()> values);

  // Told of every command that was run, with what came of it; kInProgress: it answers later.
  using Ran = std::function<void(std::string_view line, Status)>;
  void on_ran(Ran fn) { ran_ = std::move(fn); }

  // Every command in alphabetical order of its path.
  std::vector<const CliCommand*> commands() const;

 private:
  struct Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> children;
    const CliCommand* command = nullptr;
  };
  // Follows words from words[at] on; moves `at` behind the last word that is part of a path.
  Result<const Node*> find(std::span<const std::string_view> words, std::size_t& at) const;
  // Empty: `done` will be called.
  std::optional<CliOutcome> start(Host& host, std::string_view line, const Done* done) const;
  Result<void> help(std::span<const std::string_view> words, std::size_t at, CliReply& reply) const;
  static std::string hint(const Node& node);
  void complete_arguments(const CliCommand& command, std::span<const std::string_view> words,
                          std::string_view start, CliCompletion& to) const;
  static void collect(const Node& node, std::vector<const CliCommand*>& out);

  Node root_;
  Ran ran_;
  std::map<std::string, std::function<std::vector<std::string>()>, std::less<>> values_;
};

// Splits a line at white space. "a b" is one word; a word that starts with # begins a comment.
// The views point into `line`.
Result<std::vector<std::string_view>> split_cli_line(std::string_view line);

}  // namespace loom
