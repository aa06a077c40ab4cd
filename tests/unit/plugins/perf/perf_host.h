// The plugin on a session layer that the test steps, in virtual time.
#pragma once
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "api/registry.h"
#include "cli/tree.h"
#include "perf.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::perf {

// What a plugin sees of the daemon: a session layer that the test steps, and a command line, and
// the binary API without a socket.
class PerfTest : public testing::Test {
 protected:
  PerfTest() {
    ops_.struct_size = sizeof ops_;
    ops_.n_workers = [](Host&) { return uint32_t{1}; };
    ops_.run_on_worker = [](Host& h, uint32_t i, void (*fn)(Worker&, void*), void* arg) {
      of(h).bed.engine->run_on_worker(i, [&](Worker& w) { fn(w, arg); });
    };
    ops_.add_cli_command = [](Host& h, const CliCommand* c, std::string*) {
      of(h).commands_.push_back(*c);
      return of(h).cli.add(of(h).commands_.back()) ? Status::kOk : Status::kExists;
    };
    ops_.add_application = [](Host& h, const AppOps* a, const AppConfig* c, Application** out,
                              std::string* why) {
      return answer(of(h).bed.layer->add_application(*a, *c), out, why);
    };
    ops_.remove_application = [](Host& h, Application* a) {
      of(h).bed.layer->remove_application(*a);
    };
    ops_.app_listen = [](Host& h, Application* a, const AppEndpoint* e, void* context,
                         SessionHandle* out, std::string* why) {
      return answer(of(h).bed.layer->listen(*a, *e, context), out, why);
    };
    ops_.add_api_module = [](Host& h, const ApiModule* m, std::string*) {
      return of(h).registry.add_module(*m) ? Status::kOk : Status::kExists;
    };
    ops_.add_api_handler = [](Host& h, const ApiHandler* a, std::string*) {
      return of(h).registry.add_handler(*a) ? Status::kOk : Status::kExists;
    };
    ops_.log = [](Host& h, LogLevel, const char* who, const char* text) {
      of(h).log += std::string(who) + ": " + text + "\n";
    };
    host.ops = &ops_;
    host.impl = this;
    EXPECT_TRUE(register_commands(host, perf));
    EXPECT_TRUE(add_api(host, perf));
  }
  // As the plugin's stop does, when the workers have stopped.
  ~PerfTest() override {
    client.leave();
    perf.stop_runs();
    perf.servers.remove_all();
    bed.pump();
    EXPECT_EQ(bed.layer->stats().applications, 0u);
    EXPECT_EQ(bed.buffers_in_use(), 0u);
  }
  static PerfTest& of(Host& h) { return *static_cast<PerfTest*>(h.impl); }
  template <class T>
  static Status answer(Result<T> r, T* out, std::string* why) {
    if (r)
      *out = *r;
    else
      *why = r.error().message;
    return r ? Status::kOk : r.error().code;
  }

  // Answered at once.
  CliOutcome run(std::string_view line) { return cli.run(host, line); }
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

  test::SessionBed bed;
  Host host;
  CliTree cli;
  ApiRegistry registry;
  test::DirectClient client{registry};
  std::string log;
  Perf perf{host};
  std::vector<CliOutcome> answers;

 private:
  HostOps ops_{};
  std::deque<CliCommand> commands_;  // the tree points into it
};

}  // namespace loom::perf
