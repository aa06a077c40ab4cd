#include "session.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace loomctl {

int Session::run(const std::string& line, const std::string& where) {
  const auto answer = client_.cli(json_ ? "json " + line : line);
  if (!answer) {
    output_.error(where + "loomctl: " + answer.error().message);
    // Whatever else went wrong, a late answer too, leaves a daemon to talk to.
    const auto code = answer.error().code;
    const bool is_gone = code == loom::Status::kClosed || code == loom::Status::kNotConnected;
    return is_gone ? kNoDaemon : kFailed;
  }
  if (answer->retval == 0) {
    output_.answer(answer->text);
    return kOk;
  }
  output_.error(where + answer->text);
  return kFailed;
}

int Session::run_script(std::FILE* in, const std::string& where, bool goes_on) {
  char* buffer = nullptr;
  std::size_t capacity = 0;
  int outcome = kOk;
  for (int number = 1; outcome == kOk || (goes_on && outcome != kNoDaemon); ++number) {
    const ssize_t n = ::getline(&buffer, &capacity, in);
    const std::string place = where + std::to_string(number) + ": ";
    if (n < 0) {
      if (std::ferror(in)) {
        output_.error(place + std::strerror(errno));
        outcome = kFailed;
      }
      break;
    }
    const std::string line(buffer, static_cast<std::size_t>(n));
    const std::size_t first = line.find_first_not_of(" \t\r\n");
    if (first == line.npos || line[first] == '#') continue;
    if (const int status = run(line, place); status != kOk) outcome = status;
  }
  std::free(buffer);
  return outcome;
}

}  // namespace loomctl
