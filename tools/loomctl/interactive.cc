#include "interactive.h"

#include <histedit.h>

#include <algorithm>
#include <chrono>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "completion.h"
#include "vlib.api.h"

namespace loomctl {
namespace {

constexpr int kHistoryLines = 1000;
// Of Tab and ?, however long a command may take: keys are dead meanwhile.
constexpr std::chrono::seconds kPatience{2};

struct Conversation {
  Session& session;
  std::string prompt;
  bool is_given_up = false;  // by Ctrl-C
};

Conversation& of(EditLine* el) {
  void* data = nullptr;
  el_get(el, EL_CLIENTDATA, &data);
  return *static_cast<Conversation*>(data);
}

char* prompt(EditLine* el) { return of(el).prompt.data(); }

std::string history_file() {
  const char* home = std::getenv("HOME");
  return home && *home ? std::string(home) + "/.loomctl_history" : std::string();
}

struct Asked {
  std::string typed;  // of the word at the cursor
  std::string error;
  loom::api::CliCompleteReply reply;
  std::vector<Candidate> candidates;
};

Asked ask(EditLine* el) {
  const LineInfo* line = el_line(el);
  const std::string before(line->buffer, line->cursor);
  Asked asked;
  auto reply = of(el).session.client().call<loom::api::CliCompleteReply>(
      loom::api::CliComplete{.cursor = static_cast<uint32_t>(before.size()), .line = before},
      kPatience);
  if (!reply) {
    asked.error = reply.error().message;
    return asked;
  }
  asked.reply = std::move(*reply);
  if (asked.reply.retval != 0) {
    asked.error = asked.reply.help;
    return asked;
  }
  const std::size_t start = std::min<std::size_t>(asked.reply.start, before.size());
  asked.typed = before.substr(start);
  for (auto& c : asked.reply.candidates) asked.candidates.push_back({c.word, c.help, c.is_value});
  if (before.find_first_not_of(" \t") == before.npos || start == before.find_first_not_of(" \t"))
    for (const char* own : {"quit", "exit"})
      if (std::string_view(own).starts_with(asked.typed))
        asked.candidates.push_back({own, "Ends this conversation.", false});
  return asked;
}

void show(const std::string& text) {
  std::fputc('\n', stdout);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

unsigned char complete(EditLine* el, int) {
  const Asked asked = ask(el);
  if (asked.candidates.empty()) return CC_ERROR;  // a bell
  const std::string more = insertion(asked.candidates, asked.typed);
  if (!more.empty()) return el_insertstr(el, more.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  show(listing(asked.candidates, Output::columns(), Output::rows() / 2,
               of(el).session.output().is_coloured()));
  return CC_REDISPLAY;
}

unsigned char help(EditLine* el, int) {
  const LineInfo* line = el_line(el);
  const std::string_view before(line->buffer,
                                static_cast<std::size_t>(line->cursor - line->buffer));
  if (std::count(before.begin(), before.end(), '"') % 2 != 0)  // in a quoted word
    return el_insertstr(el, "?") == 0 ? CC_REFRESH : CC_ERROR;
  Asked asked = ask(el);
  std::string text = asked.error.empty() ? asked.reply.usage : asked.error;
  if (!text.empty()) text += '\n';
  if (asked.error.empty() && asked.reply.is_whole && asked.typed.empty())
    asked.candidates.insert(asked.candidates.begin(), {"<Enter>", asked.reply.help, true});
  text += listing(asked.candidates, Output::columns(), asked.candidates.size(),
                  of(el).session.output().is_coloured());
  show(text);
  return CC_REDISPLAY;
}

// The line ends as by Return, so that the next prompt stands below it; interact() drops it.
unsigned char give_up(EditLine* el, int) {
  of(el).is_given_up = true;
  el_push(el, "\n");
  return CC_NORM;
}

struct Ends {
  void operator()(EditLine* el) const { el_end(el); }
  void operator()(History* h) const { history_end(h); }
};

}  // namespace

int interact(Session& session) {
  std::setlocale(LC_CTYPE, "");
  const std::unique_ptr<EditLine, Ends> el(el_init("loomctl", stdin, stdout, stderr));
  const std::unique_ptr<History, Ends> history(history_init());
  if (!el || !history) {
    session.output().error("loomctl: the terminal cannot be used");
    return kFailed;
  }
  Conversation talk{
      session, session.output().is_coloured() ? "\1\x1b[1m\1hostloom#\1\x1b[0m\1 " : "hostloom# "};
  el_set(el.get(), EL_CLIENTDATA, &talk);
  el_set(el.get(), EL_EDITOR, "emacs");
  el_set(el.get(), EL_PROMPT_ESC, prompt, '\1');
  el_set(el.get(), EL_HIST, ::history, history.get());
  el_set(el.get(), EL_ADDFN, "loom-complete", "Completes a word", complete);
  el_set(el.get(), EL_ADDFN, "loom-help", "Lists what may come next", help);
  el_set(el.get(), EL_ADDFN, "loom-give-up", "Gives up the line", give_up);
  el_set(el.get(), EL_BIND, "\t", "loom-complete", nullptr);
  el_set(el.get(), EL_BIND, "?", "loom-help", nullptr);
  el_set(el.get(), EL_BIND, "^R", "em-inc-search-prev", nullptr);
  // Signals put the terminal right before they end the program, and windows may change their size.
  el_set(el.get(), EL_SIGNAL, 1);
  // Ctrl-C is a key while a line is typed, and a signal while it runs.
  el_set(el.get(), EL_SETTY, "-d", "-isig", nullptr);
  el_set(el.get(), EL_BIND, "^C", "loom-give-up", nullptr);
  el_source(el.get(), nullptr);  // ~/.editrc

  HistEvent event;
  ::history(history.get(), &event, H_SETSIZE, kHistoryLines);
  ::history(history.get(), &event, H_SETUNIQUE, 1);
  const std::string file = history_file();
  if (!file.empty()) ::history(history.get(), &event, H_LOAD, file.c_str());

  int outcome = kOk;
  while (outcome != kNoDaemon) {
    talk.is_given_up = false;
    // Before the prompt is seen: the kernel would take Ctrl-D and Ctrl-C for itself.
    el_set(el.get(), EL_PREP_TERM, 1);
    int n = 0;
    const char* text = el_gets(el.get(), &n);
    if (!text || n <= 0) {
      std::fputc('\n', stdout);
      break;
    }
    if (talk.is_given_up) continue;
    std::string line(text, static_cast<std::size_t>(n));
    while (!line.empty() && std::string_view(" \t\r\n").find(line.back()) != std::string_view::npos)
      line.pop_back();
    line.erase(0, line.find_first_not_of(" \t"));
    if (line.empty()) continue;
    if (line == "quit" || line == "exit") break;
    ::history(history.get(), &event, H_ENTER, line.c_str());
    // At once: a line that runs may be ended by a signal.
    if (!file.empty()) ::history(history.get(), &event, H_SAVE, file.c_str());
    outcome = session.run(line);
  }
  return outcome;
}

}  // namespace loomctl
