// The commands, the file, and what the engine notes by itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/tree.h"
#include "event_log/cli.h"
#include "tests/unit/core/graph/test_graph.h"

namespace loom {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class EventLogCommandsTest : public testing::Test {
 protected:
  EventLogCommandsTest() {
    ops_.struct_size = sizeof ops_;
    ops_.add_cli_command = [](Host& h, const CliCommand* c, std::string*) {
      auto& self = *static_cast<EventLogCommandsTest*>(h.impl);
      self.kept_.push_back(*c);
      return self.tree.add(self.kept_.back()) ? Status::kOk : Status::kExists;
    };
    host.ops = &ops_;
    host.impl = this;
    must(register_event_log_commands(host, commands));
    must(engine->build());
  }
  ~EventLogCommandsTest() override {
    engine->stop();
    unlink((commands.directory + "/events").c_str());
    rmdir(commands.directory.c_str());
  }
  static std::string directory() {
    std::string name = testing::TempDir() + "/event_log_XXXXXX";
    LOOM_CHECK(mkdtemp(name.data()));
    return name;
  }
  std::string run(std::string_view line, Status status = Status::kOk) {
    const CliOutcome o = tree.run(host, line);
    EXPECT_EQ(o.status, status) << line << ": " << o.text;
    return o.text;
  }
  void note(std::string_view text) {
    log.write(EventLog::kControl, engine->clock_now(), EventKind::kPlugin, 0, 0, text);
  }

  // The log has so many wakes of the worker: each time it is woken when it sleeps.
  void wake_it(std::ptrdiff_t n) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      while (!engine->stats().worker(0).is_asleep) std::this_thread::yield();
      engine->run_on_worker(0, [](Worker&) {});
    }
  }

  std::unique_ptr<Engine> engine = make_engine();
  EventLog& log = engine->events();
  EventLogCommands commands{*engine, directory()};
  Host host;
  CliTree tree;

 private:
  HostOps ops_{};
  std::deque<CliCommand> kept_;
};

TEST_F(EventLogCommandsTest, ShowsTheLatest) {
  for (int i = 0; i < 300; ++i) note("event number " + std::to_string(i));
  EXPECT_THAT(run("show event-logger 2"),
              AllOf(HasSubstr("number 298"), HasSubstr("number 299"), Not(HasSubstr("number 297")),
                    HasSubstr("cli barrier dispatch"), HasSubstr("running")));
  EXPECT_THAT(run("show event-logger"),
              AllOf(HasSubstr("number 50\n"), Not(HasSubstr("number 49\n"))));
  EXPECT_THAT(run("show event-logger all"), HasSubstr("number 0\n"));
  EXPECT_THAT(run("show event-logger some", Status::kInvalid), HasSubstr("'some' at position 3"));
  EXPECT_THAT(run("show event-logger 0", Status::kInvalid), HasSubstr("'0' at position 3"));
}

TEST_F(EventLogCommandsTest, StopsClearsAndResizes) {
  note("first");
  run("event-logger stop");
  note("second");
  EXPECT_THAT(run("show event-logger"),
              AllOf(HasSubstr("first"), Not(HasSubstr("second")), HasSubstr("stopped")));
  run("event-logger restart");
  run("event-logger clear");
  EXPECT_THAT(run("show event-logger"), Not(HasSubstr("first")));
  run("event-logger resize 64");
  for (int i = 0; i < 100; ++i) note("event");
  EXPECT_EQ(log.read().size(), 64u);
  EXPECT_THAT(run("event-logger resize 63", Status::kInvalid), HasSubstr("'63' at position 3"));
  EXPECT_THAT(run("event-logger resize", Status::kInvalid), HasSubstr("missing size"));
  for (const char* line : {"event-logger clear x", "event-logger stop x", "event-logger restart x",
                           "event-logger resize 64 x", "event-logger save f x"})
    EXPECT_THAT(run(line, Status::kInvalid), HasSubstr("'x' at position")) << line;
}

TEST_F(EventLogCommandsTest, ChoosesWhatIsTraced) {
  EXPECT_THAT(run("event-logger trace api"), HasSubstr("api cli barrier dispatch"));
  EXPECT_THAT(run("event-logger trace cli dispatch disable"), HasSubstr("api barrier\n"));
  EXPECT_THAT(run("event-logger trace"), HasSubstr("api barrier\n"));
  EXPECT_THAT(run("event-logger trace session"), HasSubstr("api barrier session\n"));
  EXPECT_THAT(run("event-logger trace disable"), HasSubstr("none"));
  EXPECT_THAT(run("event-logger trace apis", Status::kInvalid), HasSubstr("'apis' at position 3"));
}

TEST_F(EventLogCommandsTest, SavesALineOfJsonForEach) {
  note("one \"quoted\" \xff");
  note("two");
  EXPECT_THAT(run("event-logger save events"),
              HasSubstr("2 events written to " + commands.directory));
  const std::string path = commands.directory + "/events";
  std::ifstream in(path);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["hostloom_events"], 1);
  EXPECT_GT(lines[0]["wall_ns"].get<int64_t>(), 1'600'000'000'000'000'000);
  EXPECT_GE(lines[0]["time_ns"].get<int64_t>(), lines[2]["time_ns"].get<int64_t>());
  EXPECT_EQ(lines[2]["thread"], "loom-main");
  EXPECT_EQ(lines[2]["event"], "plugin");
  EXPECT_EQ(lines[2]["text"], "two");
  struct stat st {};
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  for (const char* bad : {"../x", "/tmp/x", ".hidden", "\"\"", "\"a b\""})
    EXPECT_THAT(run(std::string("event-logger save ") + bad, Status::kInvalid),
                HasSubstr("is not the name of a file alone"))
        << bad;
  EXPECT_THAT(run("event-logger save", Status::kInvalid), HasSubstr("missing name"));
  commands.directory += "/nowhere";
  EXPECT_THAT(run("event-logger save events", Status::kIo), HasSubstr("No such file"));
  commands.directory.resize(commands.directory.size() - 8);
}

TEST_F(EventLogCommandsTest, SavesMoreThanIsWrittenAtOnce) {
  for (int i = 0; i < 2000; ++i) note(std::to_string(i) + " " + std::string(90, 'x'));
  run("event-logger save events");
  std::ifstream in(commands.directory + "/events");
  int n = -1;  // the first line is no event's
  for (std::string line; std::getline(in, line); ++n) {
    const auto j = nlohmann::json::parse(line);
    const std::string begin = n < 0 ? "" : std::to_string(n) + " x";
    ASSERT_THAT(j.value("text", ""), testing::StartsWith(begin));
  }
  EXPECT_EQ(n, 2000);
}

// A worker's sleeps and wakes take turns; a barrier is noted by who asked for it.
TEST_F(EventLogCommandsTest, TheEngineNotesSleepsAndBarriers) {
  must(engine->start());
  wake_it(3);
  engine->with_barrier([&] { engine->with_barrier([] {}); });  // one, not two
  engine->stop();
  bool is_asleep = false;
  std::size_t n_barriers = 0;
  for (const LoggedEvent& e : log.read()) {
    n_barriers += e.kind == EventKind::kBarrier && e.thread == EventLog::kControl;
    if (e.thread != EventLog::worker_thread(0)) continue;
    EXPECT_EQ(e.kind, is_asleep ? EventKind::kWake : EventKind::kSleep);
    is_asleep = !is_asleep;
  }
  EXPECT_EQ(n_barriers, 1u);
}

TEST_F(EventLogCommandsTest, ResizedWhileWorkersWrite) {
  must(engine->start());
  for (int i = 0; i < 50; ++i) {
    run("event-logger resize " + std::to_string(64 + i));
    engine->run_on_worker(0, [](Worker&) {});
    EXPECT_EQ(log.size(), 64u + static_cast<unsigned>(i));
    std::size_t n_barriers = 0;
    for (const LoggedEvent& e : log.read()) {
      const bool is_control = e.thread == EventLog::kControl;
      n_barriers += is_control;
      const bool is_sleep = e.kind == EventKind::kSleep || e.kind == EventKind::kWake;
      EXPECT_EQ(is_sleep, !is_control) << event_kind_name(e.kind);
      EXPECT_EQ(e.kind == EventKind::kBarrier, is_control) << event_kind_name(e.kind);
    }
    EXPECT_EQ(n_barriers, 1u);  // of the exchange itself, in the new ring
  }
  wake_it(1);  // it writes into the new ring
}

}  // namespace
}  // namespace loom
