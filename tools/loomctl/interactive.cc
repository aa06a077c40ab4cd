#include "interactive.h"

#include <editline/readline.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace loomctl {
namespace {

constexpr int kNoDaemon = 3;
constexpr int kHistoryLines = 1000;

// readline's completion interface has no user pointer.
std::vector<std::vector<std::string>> g_paths;  // of every command, as words
std::vector<std::string> g_candidates;          // for the word being completed

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t at = text.find_first_not_of(' '); at != text.npos;) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = text.find_first_not_of(' ', end);
  }
  return words;
}

// Asked once: the commands do not change while somebody types.
void load_paths(loom::Client& client) {
  const auto answer = client.cli("json help");
  if (!answer || answer->retval != 0) return;
  const auto json = nlohmann::json::parse(answer->text, nullptr, false);
  if (!json.is_object() || !json.contains("commands")) return;
  for (const auto& c : json["commands"])
    if (c.contains("command") && c["command"].is_string())
      g_paths.push_back(split(c["command"].get<std::string>()));
  for (const char* own : {"help", "json", "quit", "exit"}) g_paths.push_back({own});
}

// Words that may stand after `before`, whose words may be abbreviated.
std::vector<std::string> next_words(std::vector<std::string> before, const std::string& start) {
  std::erase_if(before, [](const auto& w) { return w == "json" || w == "help"; });
  std::set<std::string> found;
  for (const auto& path : g_paths) {
    if (path.size() <= before.size() || !path[before.size()].starts_with(start)) continue;
    if (std::equal(before.begin(), before.end(), path.begin(),
                   [](const auto& typed, const auto& word) { return word.starts_with(typed); }))
      found.insert(path[before.size()]);
  }
  return {found.begin(), found.end()};
}

// Called with state 0 for the first candidate, and with more for those after it.
char* next_candidate(const char*, int state) {
  static std::size_t at = 0;
  if (state == 0) at = 0;
  return at < g_candidates.size() ? ::strdup(g_candidates[at++].c_str()) : nullptr;
}

char** complete(const char* start, int from, int) {
  g_candidates =
      next_words(split(std::string(rl_line_buffer, static_cast<std::size_t>(from))), start);
  rl_attempted_completion_over = 1;  // no file names
  return g_candidates.empty() ? nullptr : rl_completion_matches(start, next_candidate);
}

std::string history_file() {
  const char* home = std::getenv("HOME");
  return home && *home ? std::string(home) + "/.loomctl_history" : std::string();
}

}  // namespace

int interact(loom::Client& client, const std::function<int(const std::string&)>& run) {
  load_paths(client);
  rl_readline_name = const_cast<char*>("loomctl");
  rl_attempted_completion_function = complete;
  using_history();
  stifle_history(kHistoryLines);
  const std::string file = history_file();
  if (!file.empty()) read_history(file.c_str());

  int outcome = 0;
  while (outcome != kNoDaemon) {
    const std::unique_ptr<char, void (*)(void*)> line(::readline("hostloom# "), &std::free);
    if (!line) break;
    const auto words = split(line.get());
    if (words.empty()) continue;
    add_history(line.get());
    if (words.size() == 1 && (words[0] == "quit" || words[0] == "exit")) break;
    outcome = run(line.get());
  }
  if (!file.empty()) write_history(file.c_str());
  return outcome;
}

}  // namespace loomctl
