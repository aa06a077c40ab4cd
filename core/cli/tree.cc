#include "cli/tree.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/render.h"

namespace loom {
namespace {

constexpr std::size_t kMaxScriptBytes = 16u << 20;

std::string ordinal_word(std::span<const std::string_view> words, std::size_t at) {
  return "'" + std::string(words[at]) + "' at position " + std::to_string(at + 1);
}

// How many braces of the line are left open. A brace is a word of its own, without quotes.
int open_braces(std::string_view line) {
  const auto words = split_cli_line(line);
  int depth = 0;
  if (!words) return depth;
  for (const std::string_view word : *words)
    if (word.data() == line.data() || word.data()[-1] != '"')
      depth += (word == "{") - (word == "}");
  return depth;
}

// Takes the next command from a script: a line, or several while a brace is open.
std::string_view take_command(std::string_view& text, int& n_lines) {
  std::size_t size = 0;
  int depth = 0;
  n_lines = 0;
  do {
    const std::size_t begin = size;
    size = std::min(text.find('\n', begin), text.size());
    depth += open_braces(text.substr(begin, size - begin));
    ++n_lines;
    if (size < text.size()) ++size;
  } while (depth > 0 && size < text.size());
  std::string_view command = text.substr(0, size);
  text.remove_prefix(size);
  if (command.ends_with('\n')) command.remove_suffix(1);
  return command;
}

}  // namespace

CliTree::CliTree() = default;

Result<void> CliTree::add(const CliCommand& command) {
  if (command.struct_size < sizeof(CliCommand) || !command.path || !command.run)
    return error(Status::kInvalid, "a command needs a path and a run function");
  const auto words = split_cli_line(command.path);
  if (!words) return words.error();
  if (words->empty()) return error(Status::kInvalid, "a command's path is empty");
  Node* node = &root_;
  for (const auto word : *words) {
    auto& child = node->children[std::string(word)];
    if (!child) child = std::make_unique<Node>();
    node = child.get();
  }
  if (node->command)
    return error(Status::kExists, "command '" + std::string(command.path) + "' is taken");
  node->command = &command;
  return {};
}

Result<const CliTree::Node*> CliTree::find(std::span<const std::string_view> words,
                                           std::size_t& at) const {
  const Node* node = &root_;
  for (; at < words.size(); ++at) {
    const std::string_view word = words[at];
    if (const auto exact = node->children.find(word); exact != node->children.end()) {
      node = exact->second.get();
      continue;
    }
    // The map is ordered: words that begin alike stand together, from lower_bound on.
    auto it = node->children.lower_bound(word);
    std::vector<std::string_view> candidates;
    for (auto i = it; !word.empty() && i != node->children.end() && i->first.starts_with(word); ++i)
      candidates.push_back(i->first);
    if (candidates.size() == 1) {
      node = it->second.get();
      continue;
    }
    if (node->command) break;  // the word is an argument
    if (candidates.empty()) {
      std::vector<std::string_view> known;
      for (const auto& [name, child] : node->children) known.push_back(name);
      const auto near = nearest_name(word, known);
      return error(Status::kNotFound,
                   "unknown word " + ordinal_word(words, at) +
                       (near.empty() ? "" : "; did you mean '" + std::string(near) + "'?"));
    }
    std::string message = ordinal_word(words, at) + " is ambiguous:";
    for (const auto name : candidates) (message += ' ') += name;
    return error(Status::kInvalid, std::move(message));
  }
  return node;
}

void CliTree::collect(const Node& node, std::vector<const CliCommand*>& out) {
  if (node.command) out.push_back(node.command);
  for (const auto& [word, child] : node.children) collect(*child, out);
}

std::vector<const CliCommand*> CliTree::commands() const {
  std::vector<const CliCommand*> all;
  collect(root_, all);
  return all;
}

// Everything at or below the words, as a table; one command alone, with its syntax first.
Result<void> CliTree::help(std::span<const std::string_view> words, std::size_t at,
                           CliReply& reply) const {
  const auto node = find(words, at);
  if (!node) return node.error();
  std::vector<const CliCommand*> found;
  collect(**node, found);
  auto& table = reply.table("commands", {"command", "arguments", "help"});
  for (const auto* c : found)
    table.rows.push_back({c->path, c->syntax ? c->syntax : "", c->help ? c->help : ""});
  return {};
}

CliOutcome CliTree::run(Host& host, std::string_view line) const {
  return *start(host, line, nullptr);
}

void CliTree::run(Host& host, std::string_view line, Done done) const {
  if (auto outcome = start(host, line, &done)) done(std::move(*outcome));
}

std::optional<CliOutcome> CliTree::start(Host& host, std::string_view line,
                                         const Done* done) const {
  const auto failed = [](const Error& e) { return CliOutcome{e.code, e.message + "\n"}; };
  const auto split = split_cli_line(line);
  if (!split) return failed(split.error());
  std::span<const std::string_view> words(*split);
  std::size_t at = 0;
  const bool is_json = !words.empty() && words[0] == "json";
  if (is_json) ++at;
  if (at == words.size() && !is_json) return CliOutcome{};
  std::string usage;
  const auto finished = [failed, is_json](const Result<void>& outcome, const CliReply& reply,
                                          std::string of) {
    if (!outcome) return failed(outcome.error());
    return CliOutcome{Status::kOk, is_json ? render_json(reply) : render_text(reply), is_json,
                      std::move(of)};
  };

  CliReply reply;
  if (is_json) reply.set_json();
  Result<void> outcome;
  if (at == words.size()) {
    outcome = error(Status::kInvalid, "a command is missing after 'json'");
  } else if (words[at] == "help") {
    outcome = help(words, at + 1, reply);
  } else if (words.back() == "?") {
    outcome = help(words.first(words.size() - 1), at, reply);
  } else {
    const auto node = find(words, at);
    if (!node) return failed(node.error());
    if (const CliCommand* command = (*node)->command) {
      CliArgs args(words, at);
      usage = command->path;
      if (command->syntax && *command->syntax) (usage += ' ') += command->syntax;
      if (done)
        reply.allow_later(
            [done = *done, finished, usage](Result<void> result, const CliReply& answer) {
              done(finished(result, answer, usage));
            });
      outcome = command->run(host, command->context, args, reply);
      if (ran_)
        ran_(line, reply.is_later() ? Status::kInProgress
                   : outcome        ? Status::kOk
                                    : outcome.error().code);
      if (reply.is_later()) return std::nullopt;
    } else {
      std::string next;
      for (const auto& [word, child] : (*node)->children) (next += ' ') += word;
      outcome = error(Status::kInvalid, "incomplete command; next:" + next);
    }
  }
  return finished(outcome, reply, std::move(usage));
}

Result<void> CliTree::run_script(Host& host, std::string_view text, const std::string& name,
                                 std::string& out) const {
  int n_lines = 1;
  for (int number = 1; !text.empty(); number += n_lines) {
    const std::string_view line = take_command(text, n_lines);
    auto outcome = run(host, line);
    if (outcome.status != Status::kOk) {
      while (outcome.text.ends_with('\n')) outcome.text.pop_back();
      return error(outcome.status, name + ":" + std::to_string(number) + ": " + outcome.text);
    }
    out += outcome.text;
  }
  return {};
}

Result<void> CliTree::run_file(Host& host, const std::string& path, std::string& out) const {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::fopen(path.c_str(), "re"),
                                                           &std::fclose);
  const auto io_error = [&] { return error(Status::kIo, path + ": " + std::strerror(errno)); };
  if (!in) return io_error();
  std::string text;
  char block[16384];
  while (const std::size_t n = std::fread(block, 1, sizeof block, in.get())) {
    text.append(block, n);
    if (text.size() > kMaxScriptBytes)
      return error(Status::kInvalid,
                   path + ": larger than " + std::to_string(kMaxScriptBytes) + " bytes");
  }
  if (std::ferror(in.get())) return io_error();
  return run_script(host, text, path, out);
}

}  // namespace loom
