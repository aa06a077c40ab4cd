// loomctl: the operator's command line. One command from the arguments, a script from standard
// input, or a conversation with history and completion when standard input is a terminal.
//
// Exit status: 0 every command succeeded, 1 one failed, 2 wrong usage, 3 no daemon to talk to.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "client/client.h"
#include "interactive.h"
#include "top.h"

namespace {

constexpr int kOk = 0, kFailed = 1, kUsage = 2, kNoDaemon = 3;

// A word as the daemon's line splitter will see it.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_of(" \t\"#") == word.npos;
  return plain ? word : '"' + word + '"';
}

// Runs one line and prints what it answers: output to stdout, failures to stderr.
int run(loom::Client& client, const std::string& line, bool json, const std::string& where) {
  const auto answer = client.cli(json ? "json " + line : line);
  if (!answer) {
    std::fprintf(stderr, "loomctl: %s\n", answer.error().message.c_str());
    return answer.error().code == loom::Status::kUnsupported ? kFailed : kNoDaemon;
  }
  if (answer->retval == 0) {
    std::fputs(answer->text.c_str(), stdout);
    return kOk;
  }
  std::fprintf(stderr, "%s%s", where.c_str(), answer->text.c_str());
  return kFailed;
}

// Stops at the first line that fails, and names it.
int run_script(loom::Client& client, bool json) {
  char* line = nullptr;
  std::size_t capacity = 0;
  int outcome = kOk;
  for (int number = 1; outcome == kOk; ++number) {
    const ssize_t n = ::getline(&line, &capacity, stdin);
    if (n < 0) break;
    const std::string text(line, static_cast<std::size_t>(n));
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == text.npos || text[first] == '#') continue;
    outcome = run(client, text, json, "line " + std::to_string(number) + ": ");
  }
  std::free(line);
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Runs commands in a running hostloom. Without a command: interactive on a terminal, else a "
      "script from standard input. `loomctl help` lists the commands.",
      "loomctl");
  std::string socket = loom::default_api_socket();
  bool json = false;
  double timeout_s = 60;
  std::vector<std::string> words;
  app.add_option("-s,--socket", socket, "API socket of the daemon")->capture_default_str();
  app.add_flag("--json", json, "answers as JSON");
  app.add_option("--timeout", timeout_s, "seconds to wait for an answer")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 86400.0));
  app.prefix_command();  // the first word that is no option begins the command
  app.footer(
      "Usage: loomctl [OPTIONS] [COMMAND...], or loomctl top [OPTIONS].\nExit status: 0 success, 1 "
      "the command failed, 2 wrong usage, 3 no daemon.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kOk : kUsage;
  }
  words = app.remaining();
  if (!words.empty() && words.front().starts_with("-")) {
    std::fprintf(stderr, "loomctl: unknown option '%s'; see loomctl --help\n",
                 words.front().c_str());
    return kUsage;
  }

  if (!words.empty() && words.front() == "top")  // reads shared memory; the API is not needed
    return loomctl::top({words.begin() + 1, words.end()}, socket, json);

  loom::Client::Options options;
  options.name = "loomctl";
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1000));
  auto client = loom::Client::connect(socket, options);
  if (!client) {
    std::fprintf(stderr, "loomctl: %s\n", client.error().message.c_str());
    return kNoDaemon;
  }
  if (!words.empty()) {
    std::string line;
    for (const auto& word : words) line += (line.empty() ? "" : " ") + quoted(word);
    return run(*client, line, json, "");
  }
  if (!::isatty(STDIN_FILENO)) return run_script(*client, json);
  return loomctl::interact(*client,
                           [&](const std::string& line) { return run(*client, line, json, ""); });
}
