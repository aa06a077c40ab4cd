// Runs the probe's scenarios, each in a process of its own with the library preloaded, against a
// daemon in this process.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <thread>

#include "fake_daemon.h"
#include "svm/datagram.h"

namespace loom {
namespace {

using test::FakeDaemon;

std::string socket_path() { return "/tmp/ldp-test-" + std::to_string(getpid()) + ".sock"; }

struct Outcome {
  int status;
  std::string said;
};

Outcome probe(const std::string& scenario, const std::string& variables = "") {
  const std::string command = "VCL_CONFIG=/dev/null VCL_VPP_SAPI_SOCKET=" + socket_path() + " " +
                              variables + " LD_PRELOAD=" LDP_LIBRARY " timeout 20 " LDP_PROBE " " +
                              scenario + " 2>&1";
  Outcome o{};
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 512> line;
  while (std::fgets(line.data(), line.size(), pipe)) o.said += line.data();
  o.status = pclose(pipe);
  return o;
}

class Preload : public testing::TestWithParam<const char*> {};

TEST_P(Preload, Scenario) {
  FakeDaemon daemon(socket_path());
  const Outcome o = probe(GetParam());
  EXPECT_EQ(o.status, 0) << o.said;
}

INSTANTIATE_TEST_SUITE_P(
    Probe, Preload,
    testing::Values("talk", "duplicates", "replaced_number", "close_everything", "loopback",
                    "mixed_epoll", "mixed_poll", "candidate_in_epoll", "epoll_number_again",
                    "copied_epoll", "forked", "vforked", "options", "options_refused", "devices",
                    "refused", "nonblocking_connect", "sigpipe", "stream", "sendfile", "more",
                    "errno_kept", "port_before_listen", "datagram_names", "datagram_refused",
                    "datagram_file", "datagrams_of_nothing"),
    [](const auto& about) { return std::string(about.param); });

TEST(PreloadDatagrams, ThreadsThatSendFirstShareOneSession) {
  FakeDaemon daemon(socket_path());
  const Outcome o = probe("datagram_threads");
  EXPECT_EQ(o.status, 0) << o.said;
  EXPECT_EQ(daemon.n_sessions(), 20u);
}

TEST(PreloadDatagrams, AnErrorBehindADatagramIsToldByTheNextCall) {
  FakeDaemon daemon(socket_path());
  Outcome o{};
  std::atomic<bool> is_over{false};
  std::thread runner([&] {
    o = probe("datagram_errors");
    is_over = true;
  });
  while (daemon.n_sessions() == 0 && !is_over) std::this_thread::yield();
  svm::DatagramHeader data{}, error{};
  data.flags = svm::kDatagramKnownFlags;
  data.is_ip4 = 1;
  data.length = 4;
  error.flags = svm::kDatagramError;
  error.error = ECONNREFUSED;
  const auto bytes = [](const svm::DatagramHeader& h) {
    return std::string(reinterpret_cast<const char*>(&h), sizeof h);
  };
  if (!is_over) daemon.inject(0, bytes(data) + "data" + bytes(error) + bytes(data) + "more");
  runner.join();
  EXPECT_EQ(o.status, 0) << o.said;
}

TEST(PreloadWithoutADaemon, TheKernelTakesOverAndTheSocketIsNamed) {
  const Outcome o = probe("kernel_fallback");
  EXPECT_EQ(o.status, 0) << o.said;
  const size_t first = o.said.find(socket_path());
  ASSERT_NE(first, std::string::npos) << o.said;
  EXPECT_EQ(o.said.find("hostloom:", first), std::string::npos) << "said twice: " << o.said;
}

TEST(PreloadWithoutADaemon, ItFailsIfThatWasAskedFor) {
  const Outcome o = probe("no_fallback", "VCL_REQUIRE_STACK=1");
  EXPECT_EQ(o.status, 0) << o.said;
  EXPECT_NE(o.said.find(socket_path()), std::string::npos) << o.said;
}

TEST(PreloadWithoutADaemon, AProgramWithoutSocketsSaysNothing) {
  const Outcome o = probe("no_sockets", "VCL_REQUIRE_STACK=1");
  EXPECT_EQ(o.status, 0) << o.said;
  EXPECT_EQ(o.said, "");
}

}  // namespace
}  // namespace loom
