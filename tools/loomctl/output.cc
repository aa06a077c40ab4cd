#include "output.h"

#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace loomctl {
namespace {

bool has_colours(int fd, Colour colour) {
  if (colour != Colour::kAuto) return colour == Colour::kAlways;
  const char* none = std::getenv("NO_COLOR");  // no-color.org
  const char* term = std::getenv("TERM");
  return ::isatty(fd) && !(none && *none) && term && std::string_view(term) != "dumb";
}

winsize size() {
  winsize w{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_row == 0 || w.ws_col == 0)
    w.ws_row = 24, w.ws_col = 80;
  return w;
}

std::string pager() {
  for (const char* name : {"LOOMCTL_PAGER", "PAGER"})
    if (const char* value = std::getenv(name)) return value;
  return "less";
}

}  // namespace

std::size_t rows_of(std::string_view text, std::size_t columns) {
  std::size_t rows = 0, width = 0;
  for (const char c : text) {
    const bool continues = (static_cast<unsigned char>(c) & 0xc0) == 0x80;  // UTF-8
    if (c != '\n' && !continues && ++width <= columns) continue;
    if (continues) continue;
    ++rows;
    width = c == '\n' ? 0 : 1;
  }
  return rows + (width > 0);
}

Output::Output(Colour colour, bool may_page)
    : is_coloured_(has_colours(STDOUT_FILENO, colour)),
      errors_are_coloured_(has_colours(STDERR_FILENO, colour)),
      may_page_(may_page && ::isatty(STDOUT_FILENO)) {}

std::size_t Output::columns() { return size().ws_col; }
std::size_t Output::rows() { return size().ws_row; }

void Output::answer(const std::string& text) const {
  if (may_page_ && rows_of(text, columns()) >= rows()) return page(text);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void Output::error(const std::string& text) const {
  std::fflush(stdout);
  const bool ends = text.ends_with('\n');
  std::fprintf(stderr, "%s%.*s%s\n", errors_are_coloured_ ? "\x1b[31m" : "",
               static_cast<int>(text.size() - ends), text.data(),
               errors_are_coloured_ ? "\x1b[0m" : "");
}

void Output::page(const std::string& text) const {
  const std::string command = pager();
  ::setenv("LESS", "FRX", 0);
  std::fflush(stdout);
  std::FILE* out = command.empty() ? nullptr : ::popen(command.c_str(), "we");
  if (out) {
    // Leaving the pager early is no failure, and Ctrl-C is the pager's while it runs.
    const auto broken_pipe = std::signal(SIGPIPE, SIG_IGN);
    const auto interrupt = std::signal(SIGINT, SIG_IGN);
    std::fwrite(text.data(), 1, text.size(), out);
    const int status = ::pclose(out);
    std::signal(SIGPIPE, broken_pipe);
    std::signal(SIGINT, interrupt);
    const bool is_missing = WIFEXITED(status) && WEXITSTATUS(status) == 127;
    if (!is_missing) return;
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace loomctl
