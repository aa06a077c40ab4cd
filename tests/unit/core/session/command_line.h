// The session layer's commands, given as lines and answered as text or JSON.
#pragma once
#include <gtest/gtest.h>

#include <deque>
#include <nlohmann/json.hpp>

#include <hostloom/host.h>

#include "cli/tree.h"
#include "session/session_layer.h"

namespace loom::test {

class CommandLine {
 public:
  explicit CommandLine(SessionLayer& layer) {
    ops_.struct_size = sizeof ops_;
    ops_.add_cli_command = [](Host& h, const CliCommand* c, std::string*) {
      auto& self = *static_cast<CommandLine*>(h.impl);
      self.kept_.push_back(*c);
      return self.tree_.add(self.kept_.back()) ? Status::kOk : Status::kExists;
    };
    host_.ops = &ops_;
    host_.impl = this;
    EXPECT_TRUE(register_session_commands(host_, layer));
  }
  // What it answers; the error's sentence when it is refused with `expected`.
  std::string run(const std::string& line, Status expected = Status::kOk) {
    const CliOutcome o = tree_.run(host_, line);
    EXPECT_EQ(o.status, expected) << line << ": " << o.text;
    return o.text;
  }
  nlohmann::json json(const std::string& line) {
    return nlohmann::json::parse(run("json " + line));
  }

 private:
  HostOps ops_{};
  Host host_;
  std::deque<CliCommand> kept_;
  CliTree tree_;
};

}  // namespace loom::test
