// Lines run in the daemon: one, or a script.
#pragma once
#include <cstdio>
#include <string>

#include "client/client.h"
#include "output.h"

namespace loomctl {

// Exit statuses.
constexpr int kOk = 0, kFailed = 1, kUsage = 2, kNoDaemon = 3;

class Session {
 public:
  Session(loom::Client& client, const Output& output, bool json)
      : client_(client), output_(output), json_(json) {}

  // Runs a line and prints what it answers. where: stands before an error.
  int run(const std::string& line, const std::string& where = "");
  // Runs the lines of a file; empty lines and comments do nothing. Stops at the first line that
  // fails unless `goes_on`; the status is then that of the last line that failed. where: stands
  // before an error's line number: "setup.cli:", "line ".
  int run_script(std::FILE* in, const std::string& where, bool goes_on);

  loom::Client& client() { return client_; }
  const Output& output() const { return output_; }

 private:
  loom::Client& client_;
  const Output& output_;
  bool json_;
};

}  // namespace loomctl
