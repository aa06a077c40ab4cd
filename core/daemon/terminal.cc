#include "daemon/terminal.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "cli/tree.h"
#include "daemon/event_loop.h"

namespace loom {

Terminal::Terminal(EventLoop& loop, const CliTree& tree, Host& host, std::function<void()> on_quit)
    : loop_(loop), tree_(tree), host_(host), on_quit_(std::move(on_quit)) {
  watch_ = loop_.watch(STDIN_FILENO, [this] { readable(); });
  prompt();
}

Terminal::~Terminal() { loop_.unwatch(watch_); }

void Terminal::prompt() {
  std::fputs("hostloom# ", stdout);
  std::fflush(stdout);
}

// The terminal hands over a line at a time, and read() gives what there is, so this does not block.
void Terminal::readable() {
  char block[4096];
  const ssize_t n = ::read(STDIN_FILENO, block, sizeof block);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) {
    loop_.unwatch(watch_);
    return on_quit_();
  }
  in_.append(block, static_cast<std::size_t>(n));
  take_lines();
  if (in_.size() > kMaxCliLine) in_.clear();
}

// One command at a time: what is typed meanwhile waits for its answer.
void Terminal::take_lines() {
  is_taking_ = true;
  for (std::size_t end; !is_waiting_ && (end = in_.find('\n')) != in_.npos;) {
    const std::string line = in_.substr(0, end);
    in_.erase(0, end + 1);
    if (line == "quit" || line == "exit") {
      on_quit_();
      break;
    }
    is_waiting_ = true;
    tree_.run(host_, line, [this, alive = std::weak_ptr(alive_)](const CliOutcome& outcome) {
      if (alive.expired()) return;
      std::fputs(outcome.text.c_str(), outcome.status == Status::kOk ? stdout : stderr);
      prompt();
      is_waiting_ = false;
      if (!is_taking_) take_lines();
    });
  }
  is_taking_ = false;
}

}  // namespace loom
