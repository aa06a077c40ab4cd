// loomctl: the operator's command line. One command from the arguments, a script from a file or
// standard input, or a conversation when standard input is a terminal.
//
// Exit status: 0 every command succeeded, 1 one failed, 2 wrong usage, 3 no daemon to talk to.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "interactive.h"
#include "top.h"

namespace {

using namespace loomctl;

// A word as the daemon's line splitter will see it.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_of(" \t\"#") == word.npos;
  return plain ? word : '"' + word + '"';
}

struct Arguments {
  std::string socket = loom::default_api_socket();
  bool json = false, goes_on = false, no_pager = false;
  double timeout_s = 60;
  std::string script;
  Colour colour = Colour::kAuto;
  std::vector<std::string> words;
};

int run_file(Session& session, const Arguments& args) {
  if (args.script.empty() || args.script == "-")
    return session.run_script(stdin, "line ", args.goes_on);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::fopen(args.script.c_str(), "re"),
                                                           &std::fclose);
  if (!in) {
    session.output().error("loomctl: " + args.script + ": " + std::strerror(errno));
    return kUsage;
  }
  return session.run_script(in.get(), args.script + ":", args.goes_on);
}

// A conversation, a script, or one command: whatever was asked for.
int talk(const Arguments& args) {
  const bool is_script = args.words.empty() && (!args.script.empty() || !::isatty(STDIN_FILENO));
  const Output output(args.colour, !args.no_pager && !is_script);
  loom::Client::Options options;
  options.name = "loomctl";
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(args.timeout_s * 1000));
  auto client = loom::Client::connect(args.socket, options);
  if (!client) {
    output.error("loomctl: " + client.error().message);
    return kNoDaemon;
  }
  Session session(*client, output, args.json);
  if (is_script) return run_file(session, args);
  if (args.words.empty()) return interact(session);
  std::string line;
  for (const auto& word : args.words) line += (line.empty() ? "" : " ") + quoted(word);
  return session.run(line);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Runs commands in a running hostloom. Without a command: interactive on a terminal, else a "
      "script from standard input. `loomctl help` lists the commands.",
      "loomctl");
  Arguments args;
  const std::map<std::string, Colour> colours = {
      {"auto", Colour::kAuto}, {"always", Colour::kAlways}, {"never", Colour::kNever}};
  app.add_option("-s,--socket", args.socket, "API socket of the daemon")->capture_default_str();
  app.add_flag("--json", args.json, "answers as JSON");
  app.add_option("-f,--file", args.script, "runs the lines of a file, - for standard input");
  app.add_flag("--continue", args.goes_on, "a script goes on behind a line that failed");
  app.add_option("--timeout", args.timeout_s, "seconds to wait for an answer")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 86400.0));
  app.add_flag("--no-pager", args.no_pager, "long answers are not paged on a terminal");
  app.add_option("--color", args.colour, "auto (on a terminal, without NO_COLOR), always, never")
      ->transform(CLI::CheckedTransformer(colours, CLI::ignore_case).description(""))
      ->type_name("WHEN");
  app.prefix_command();  // the first word that is no option begins the command
  app.footer(
      "Usage: loomctl [OPTIONS] [COMMAND...], or loomctl top [OPTIONS].\nExit status: 0 success, 1 "
      "a command failed, 2 wrong usage, 3 no daemon.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kOk : kUsage;
  }
  args.words = app.remaining();
  if (!args.words.empty() && args.words.front().starts_with("-")) {
    std::fprintf(stderr, "loomctl: unknown option '%s'; see loomctl --help\n",
                 args.words.front().c_str());
    return kUsage;
  }
  if (!args.words.empty() && !args.script.empty()) {
    std::fprintf(stderr, "loomctl: either a command or --file, not both\n");
    return kUsage;
  }
  if (!args.words.empty() && args.words.front() == "top")  // reads shared memory, not the API
    return loomctl::top({args.words.begin() + 1, args.words.end()}, args.socket, args.json);
  return talk(args);
}
