// The plugin on a session layer that the test steps, in virtual time.
#pragma once
#include <string>
#include <vector>

#include "perf.h"
#include "tests/unit/plugins/plugin_bed.h"

namespace loom::perf {

class PerfTest : public testing::Test, protected test::PluginBed {
 protected:
  PerfTest() {
    EXPECT_TRUE(register_commands(host, perf));
    EXPECT_TRUE(add_api(host, perf));
  }
  // As the plugin's stop does, when the workers have stopped.
  ~PerfTest() override {
    client.leave();
    perf.stop_runs();
    if (perf.held) perf.held->end();
    perf.servers.remove_all();
    bed.pump();
    EXPECT_EQ(bed.layer->stats().applications, 0u);
    EXPECT_EQ(bed.buffers_in_use(), 0u);
  }
  void must(std::string_view line) {
    const CliOutcome o = run(line);
    EXPECT_EQ(o.status, Status::kOk) << line << ": " << o.text;
  }
  // Answered into `answers` when it is over.
  void begin(const std::string& line) {
    cli.run(host, "json " + line, [this](CliOutcome o) { answers.push_back(std::move(o)); });
  }
  // A round a millisecond: a timed run always has something to send, so nobody is ever idle.
  void pass(TimeNs time) {
    for (const TimeNs end = bed.now + time; bed.now < end; bed.now += kMillisecond)
      (void)bed.engine->step();
  }
  // The only answer of a command that begins and ends within that time.
  CliOutcome outcome(const std::string& line, TimeNs time = kSecond) {
    begin(line);
    pass(time);
    if (answers.empty()) return {Status::kTimedOut, "no answer\n"};
    CliOutcome o = std::move(answers.back());
    answers.clear();
    return o;
  }

  Perf perf{host};
  std::vector<CliOutcome> answers;
};

}  // namespace loom::perf
