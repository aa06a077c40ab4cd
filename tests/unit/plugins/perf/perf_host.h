// The plugin on a session layer that the test steps, in virtual time.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "perf.h"
#include "tests/unit/plugins/plugin_bed.h"

namespace loom::perf {

// A number of a run's outcome.
inline uint64_t number(const CliOutcome& o, const char* name) {
  const auto json = nlohmann::json::parse(o.text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains(name) || !json[name].is_number_unsigned()) {
    ADD_FAILURE() << "no " << name << " in " << o.text;
    return ~0ull;
  }
  return json[name];
}

// The row of a table of it in which that column has that value; null without one.
inline nlohmann::json row(const CliOutcome& o, const char* table, const char* column,
                          const char* value) {
  const auto json = nlohmann::json::parse(o.text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains(table))
    for (const auto& r : json[table])
      if (r[column] == value) return r;
  return nullptr;
}

class PerfTest : public testing::Test, protected test::PluginBed {
 protected:
  explicit PerfTest(SessionConfig config = {}) : PluginBed(std::move(config)) {
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
