// libvppcom: certificates that are given while a listen is under way, and what a listener says of
// early data.
#include <gtest/gtest.h>
#include <unistd.h>
#include <vcl/vppcom.h>

#include <atomic>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include <hostloom/endpoint_settings.h>

#include "vppcom_bed.h"

namespace loom {
namespace {

using namespace vppcom_bed;

// The thread of this process waits in the kernel.
bool is_asleep(pid_t thread) {
  std::ifstream stat("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string line;
  std::getline(stat, line);
  const std::size_t name = line.rfind(") ");  // which may have anything in it
  return name != line.npos && line[name + 2] == 'S';
}

TEST_F(Vppcom, PairsGivenWhileAListenIsUnderWayAreTheListeners) {
  const uint32_t sh = session();
  Address a(4433);
  ASSERT_EQ(vppcom_session_bind(sh, &a.ep), VPPCOM_OK);
  daemon_->hold_listens();
  std::thread listening([&] { EXPECT_EQ(vppcom_session_listen(sh, 8), VPPCOM_OK); });
  while (daemon_->events(svm::ToDaemon::kListen) == 0) std::this_thread::yield();
  std::atomic<int> outcome{1};
  std::atomic<pid_t> setter{0};
  std::thread setting([&] {
    setter = gettid();
    uint32_t pair = 3, size = sizeof pair;
    outcome = vppcom_session_attr(sh, VPPCOM_ATTR_SET_CKPAIR, &pair, &size);
  });
  // Who does not wait for the listen has an answer instead.
  while (outcome == 1 && !is_asleep(setter)) std::this_thread::yield();
  EXPECT_EQ(outcome, 1);
  daemon_->release_listens();
  listening.join();
  setting.join();
  EXPECT_EQ(outcome, VPPCOM_OK);
  EXPECT_EQ(daemon_->settings_used(), 1u);
}

TEST_F(Vppcom, PairsGivenWhileAListenFailsAreForTheNextOne) {
  const uint32_t first = listener(4433), sh = session();
  Address a(4433);
  ASSERT_EQ(vppcom_session_bind(sh, &a.ep), VPPCOM_OK);
  daemon_->hold_listens();
  std::thread listening([&] { EXPECT_NE(vppcom_session_listen(sh, 8), VPPCOM_OK); });
  while (daemon_->events(svm::ToDaemon::kListen) < 2) std::this_thread::yield();
  std::atomic<int> outcome{1};
  std::atomic<pid_t> setter{0};
  std::thread setting([&] {
    setter = gettid();
    uint32_t pair = 3, size = sizeof pair;
    outcome = vppcom_session_attr(sh, VPPCOM_ATTR_SET_CKPAIR, &pair, &size);
  });
  while (outcome == 1 && !is_asleep(setter)) std::this_thread::yield();
  daemon_->release_listens();
  listening.join();
  setting.join();
  EXPECT_EQ(outcome, VPPCOM_OK);
  EXPECT_EQ(daemon_->settings_given(), 0u);
  vppcom_session_close(first);
  EXPECT_EQ(vppcom_session_listen(sh, 8), VPPCOM_OK);
  EXPECT_EQ(daemon_->settings_given(), 1u);
  EXPECT_EQ(daemon_->settings_used(), 0u);
}

TEST_F(Vppcom, EarlyDataIsSaidBeforeListenAndNotBehind) {
  const uint32_t sh = session();
  Address a(4433);
  ASSERT_EQ(vppcom_session_bind(sh, &a.ep), VPPCOM_OK);
  uint32_t bytes = 16'384, size = sizeof bytes;
  EXPECT_EQ(vppcom_session_attr(sh, VPPCOM_ATTR_SET_TLS_EARLY_DATA, &bytes, &size), VPPCOM_OK);
  uint32_t too_short = 2;
  EXPECT_EQ(vppcom_session_attr(sh, VPPCOM_ATTR_SET_TLS_EARLY_DATA, &bytes, &too_short),
            VPPCOM_EINVAL);
  ASSERT_EQ(vppcom_session_listen(sh, 8), VPPCOM_OK);
  EXPECT_EQ(daemon_->settings_given(), 1u);
  std::optional<uint32_t> said;
  EXPECT_TRUE(read_settings(daemon_->settings(), [&](Setting type, std::string_view value) {
    if (type == Setting::kEarlyData) said = number_setting(value);
  }));
  EXPECT_EQ(said, 16'384u);
  EXPECT_EQ(vppcom_session_attr(sh, VPPCOM_ATTR_SET_TLS_EARLY_DATA, &bytes, &size), VPPCOM_EINVAL);
  EXPECT_EQ(daemon_->settings_given() + daemon_->settings_used(), 1u);
}

TEST_F(Vppcom, AProfilesNameGoesWithWhatListens) {
  const uint32_t sh = session();
  Address a(4433);
  ASSERT_EQ(vppcom_session_bind(sh, &a.ep), VPPCOM_OK);
  char name[] = "old";
  uint32_t size = 3;
  EXPECT_EQ(vppcom_session_attr(sh, VPPCOM_ATTR_SET_TLS_PROFILE, name, &size), VPPCOM_OK);
  ASSERT_EQ(vppcom_session_listen(sh, 8), VPPCOM_OK);
  std::string said;
  EXPECT_TRUE(read_settings(daemon_->settings(), [&](Setting type, std::string_view value) {
    if (type == Setting::kProfile) said = value;
  }));
  EXPECT_EQ(said, "old");
}

}  // namespace
}  // namespace loom
