// The programs hostloom and loomctl as their users run them: exit statuses, messages, sockets. No
// plugins and no interfaces, so that it runs as any user.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "client/client.h"
#include "memclnt.api.h"
#include "vpe.api.h"

namespace loom {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// One run of a program; its output goes through a pipe.
class Process {
 public:
  Process(std::vector<std::string> words, const std::string& input = "") {
    int in[2], out[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, out[1], 2);
    std::vector<char*> argv;
    for (auto& w : words) argv.push_back(w.data());
    argv.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ), 0) << words[0];
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    out_ = out[0];
    EXPECT_EQ(::write(in[1], input.data(), input.size()), static_cast<ssize_t>(input.size()));
    ::close(in[1]);
  }
  ~Process() {
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      wait();
    }
    ::close(out_);
  }
  Process(const Process&) = delete;

  // Reads until the text has been said; false when the output ends before.
  bool says(std::string_view text) {
    while (output.find(text) == output.npos)
      if (!read_some()) return false;
    return true;
  }
  // Reads to the end and returns the exit status; -signal when it was killed.
  int wait() {
    while (read_some()) {}
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  pid_t pid = 0;
  std::string output;

 private:
  bool read_some() {
    pollfd p{out_, POLLIN, 0};
    if (::poll(&p, 1, 60'000) != 1) {
      ADD_FAILURE() << "silent; so far: " << output;
      return false;
    }
    char block[4096];
    const ssize_t n = ::read(out_, block, sizeof block);
    if (n > 0) output.append(block, static_cast<std::size_t>(n));
    return n > 0;
  }
  int out_ = -1;
};

class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hostloom-program-XXXXXX";
    dir = ::mkdtemp(name);
    fs::create_directory(dir + "/plugins");
  }
  void TearDown() override { fs::remove_all(dir); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(dir + "/" + name) << text;
    return dir + "/" + name;
  }
  std::vector<std::string> hostloom(const std::string& config,
                                    std::vector<std::string> more = {}) const {
    std::vector<std::string> words{HOSTLOOM_PROGRAM, "-c", write("startup.conf", config),
                                   "--plugin-path", dir + "/plugins"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::string good_config(const std::string& more = "") const {
    return "unix { nodaemon runtime-dir " + dir + "/run " + more +
           " }\nbuffers { buffers-per-numa 1024 }\n";
  }
  // Exit status and what was said.
  static std::pair<int, std::string> run(std::vector<std::string> words,
                                         const std::string& input = "") {
    Process p(std::move(words), input);
    const int status = p.wait();
    return {status, p.output};
  }
  std::pair<int, std::string> loomctl(std::vector<std::string> words,
                                      const std::string& input = "") const {
    words.insert(words.begin(), {LOOMCTL_PROGRAM, "-s", dir + "/run/api.sock"});
    return run(std::move(words), input);
  }
  std::string dir;
};

TEST_F(ProgramTest, BadConfigurationsEndWithTwoAndTheirLine) {
  const struct {
    const char *text, *message;
  } kCases[] = {
      {"unix {\n nodaemn }",
       "startup.conf:2: unknown key 'nodaemn' in 'unix'; did you mean 'nodaemon'?"},
      {"unix {", "startup.conf:1: '{' after 'unix' is never closed"},
      {"unix { nodaemon }\n\ntpc { }", "startup.conf:3: unknown stanza 'tpc'"},
      {"\nsession { evt-q-length lots }", "startup.conf:2: 'evt-q-length lots': a size from"},
      {"plugins { plugin x { perhaps } }", "startup.conf:1: unknown key 'perhaps'"},
      {"cpu { workers 99 }", "startup.conf:1: 'workers 99'"},
  };
  for (const auto& c : kCases)
    for (const bool check : {false, true}) {
      const auto [status, output] = run(hostloom(
          c.text, check ? std::vector<std::string>{"--check"} : std::vector<std::string>{}));
      EXPECT_EQ(status, 2) << c.text;
      EXPECT_THAT(output, HasSubstr(c.message));
      EXPECT_FALSE(fs::exists(dir + "/run")) << "something was started";
    }
}

TEST_F(ProgramTest, CheckAcceptsAGoodFileAndStartsNothing) {
  const auto [status, output] = run(hostloom(good_config(), {"--check"}));
  EXPECT_EQ(status, 0) << output;
  EXPECT_EQ(output, "");
  EXPECT_FALSE(fs::exists(dir + "/run"));
}

TEST_F(ProgramTest, TheCommandLineExplainsItselfAndRefusesWhatItDoesNotKnow) {
  auto [status, output] = run({HOSTLOOM_PROGRAM, "--help"});
  EXPECT_EQ(status, 0);
  for (const char* option : {"--config", "--check", "--runtime-dir", "--host-ns", "Exit status"})
    EXPECT_THAT(output, HasSubstr(option));
  std::tie(status, output) = run({HOSTLOOM_PROGRAM, "--version"});
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(output.starts_with("hostloom ")) << output;
  EXPECT_EQ(run({HOSTLOOM_PROGRAM, "--frobnicate"}).first, 2);
  EXPECT_EQ(run({HOSTLOOM_PROGRAM, "-c", dir + "/none.conf"}).first, 2);
  EXPECT_EQ(run(hostloom(good_config(), {"--host-ns", "x"})).first, 2);
  std::tie(status, output) = run({HOSTLOOM_PROGRAM, "--print-default-config"});
  EXPECT_EQ(status, 0);
  EXPECT_THAT(output, HasSubstr("create tap id 0"));
}

TEST_F(ProgramTest, RunsUntilItIsToldToStopAndLeavesNoSocketBehind) {
  Process daemon(hostloom(good_config("pidfile " + dir + "/pid cli-listen " + dir + "/cli.sock")));
  ASSERT_TRUE(daemon.says("ready\n")) << daemon.output;
  for (const char* path : {"/run/api.sock", "/run/app_ns_sockets/default", "/cli.sock", "/pid"})
    EXPECT_TRUE(fs::exists(dir + path)) << path;

  auto client = Client::connect(dir + "/run/api.sock");
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ(client->call<api::ShowVersionReply>(api::ShowVersion{})->program, "hostloom");
  EXPECT_EQ(client->call<api::ControlPingReply>(api::ControlPing{})->vpe_pid,
            static_cast<uint32_t>(daemon.pid));

  const auto [status, output] = run(hostloom(good_config()));
  EXPECT_EQ(status, 1);
  EXPECT_THAT(output, HasSubstr("in use by process " + std::to_string(daemon.pid)));

  ::kill(daemon.pid, SIGTERM);
  EXPECT_EQ(daemon.wait(), 0) << daemon.output;
  for (const char* path : {"/run/api.sock", "/run/app_ns_sockets/default", "/cli.sock", "/pid"})
    EXPECT_FALSE(fs::exists(dir + path)) << path;
}

TEST_F(ProgramTest, LoomctlsExitStatusSaysWhatHappened) {
  EXPECT_EQ(loomctl({"show", "version"}).first, 3);
  EXPECT_THAT(loomctl({"show", "version"}).second, HasSubstr(dir + "/run/api.sock"));
  EXPECT_EQ(loomctl({"--frobnicate"}).first, 2);

  Process daemon(hostloom(good_config()));
  ASSERT_TRUE(daemon.says("ready\n")) << daemon.output;
  auto [status, output] = loomctl({"sh", "ver"});
  EXPECT_EQ(status, 0);
  EXPECT_THAT(output, HasSubstr("program"));
  std::tie(status, output) = loomctl({"--json", "show", "version"});
  EXPECT_EQ(status, 0);
  const auto json = nlohmann::json::parse(output, nullptr, false);
  ASSERT_TRUE(json.is_object()) << output;
  EXPECT_EQ(json["pid"], daemon.pid);
  std::tie(status, output) = loomctl({"show", "verison"});
  EXPECT_EQ(status, 1);
  EXPECT_EQ(output, "unknown word 'verison' at position 2; did you mean 'version'?\n");
  EXPECT_EQ(loomctl({"show", "log", "last", "5"}).first, 0);
  EXPECT_THAT(loomctl({"show", "api"}).second, HasSubstr("loomctl"));
  EXPECT_EQ(loomctl({"help"}).first, 0);

  std::tie(status, output) = loomctl({}, "# a script\nshow version\n\nshow plugins\n");
  EXPECT_EQ(status, 0);
  std::tie(status, output) = loomctl({}, "show version\nshow nothing\nshow version\n");
  EXPECT_EQ(status, 1);
  EXPECT_THAT(output, HasSubstr("line 2: unknown word 'nothing' at position 2"));
}

TEST_F(ProgramTest, StartupCommandsRunBeforeReadyAndTheirFailureIsNamed) {
  const auto good = write("good.cli", "# first\nshow version\n");
  const auto bad = write("bad.cli", "show version\n\nshow nothing\n");
  {
    Process daemon(hostloom(good_config("startup-config " + good)));
    ASSERT_TRUE(daemon.says("ready\n")) << daemon.output;
    EXPECT_LT(daemon.output.find("startup: program"), daemon.output.find("ready\n"));
    ::kill(daemon.pid, SIGINT);
    EXPECT_EQ(daemon.wait(), 0);
  }
  const auto [status, output] =
      run(hostloom(good_config("startup-config " + good + " exec " + bad)));
  EXPECT_EQ(status, 1);
  EXPECT_THAT(output, HasSubstr("bad.cli:3: unknown word 'nothing' at position 2"));
  EXPECT_FALSE(fs::exists(dir + "/run/api.sock"));
}

TEST_F(ProgramTest, InTheBackgroundTheParentReportsTheOutcome) {
  const std::string config = "unix { runtime-dir " + dir + "/run pidfile " + dir +
                             "/pid }\nbuffers { buffers-per-numa 1024 }";
  const auto [status, output] = run(hostloom(config));
  ASSERT_EQ(status, 0) << output;
  long pid = 0;
  std::ifstream(dir + "/pid") >> pid;
  ASSERT_GT(pid, 1);
  auto client = Client::connect(dir + "/run/api.sock");
  EXPECT_TRUE(client);
  EXPECT_EQ(run(hostloom(config)).first, 1);  // the child's status: the directory is taken
  pollfd gone{static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)), POLLIN, 0};
  ASSERT_GE(gone.fd, 0);
  ::kill(static_cast<pid_t>(pid), SIGTERM);
  EXPECT_EQ(::poll(&gone, 1, 60'000), 1);  // it has ended: it is not this one's child
  ::close(gone.fd);
  EXPECT_FALSE(fs::exists(dir + "/run/api.sock"));
  if (client) {
    EXPECT_FALSE(client->cli("show version"));
  }
  std::stringstream log;
  log << std::ifstream(dir + "/run/hostloom.log").rdbuf();
  EXPECT_THAT(log.str(), HasSubstr("hostloom: ready\n"));
}

TEST_F(ProgramTest, TheServiceManagerIsTold) {
  const std::string path = dir + "/notify";
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  Process daemon(hostloom(good_config()));
  ::unsetenv("NOTIFY_SOCKET");
  ASSERT_TRUE(daemon.says("ready\n")) << daemon.output;
  char text[64] = {};
  ASSERT_GT(::recv(fd, text, sizeof text - 1, 0), 0);
  EXPECT_STREQ(text, "READY=1");
  ::kill(daemon.pid, SIGTERM);
  EXPECT_EQ(daemon.wait(), 0);
  std::memset(text, 0, sizeof text);
  ASSERT_GT(::recv(fd, text, sizeof text - 1, 0), 0);
  EXPECT_STREQ(text, "STOPPING=1");
  ::close(fd);
}

TEST_F(ProgramTest, AStaleSocketOfAKilledDaemonIsReplaced) {
  {
    Process daemon(hostloom(good_config()));
    ASSERT_TRUE(daemon.says("ready\n")) << daemon.output;
  }  // SIGKILL
  EXPECT_TRUE(fs::exists(dir + "/run/api.sock"));
  Process daemon(hostloom(good_config()));
  ASSERT_TRUE(daemon.says("ready\n")) << daemon.output;
  EXPECT_EQ(loomctl({"show", "version"}).first, 0);
}

}  // namespace
}  // namespace loom
