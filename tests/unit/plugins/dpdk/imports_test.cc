// Calls of a shared object led elsewhere: its own, nobody else's, and all or none.
#include "imports.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace loom::dpdk {
namespace {

using ::testing::HasSubstr;

pid_t ours() { return 4711; }

class ImportsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    object_ = ::dlopen(CALLER, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(object_, nullptr) << ::dlerror();
    call_ = reinterpret_cast<pid_t (*)()>(::dlsym(object_, "call_getppid"));
    ASSERT_NE(call_, nullptr);
  }
  void TearDown() override { ::dlclose(object_); }
  // Of its mappings, in order: "r--p r-xp r--p rw-p".
  static std::string permissions() {
    std::ifstream maps("/proc/self/maps");
    std::string all;
    for (std::string line; std::getline(maps, line);) {
      if (line.find(CALLER) == line.npos) continue;
      std::string range, how;
      std::istringstream(line) >> range >> how;
      all += (all.empty() ? "" : " ") + how;
    }
    return all;
  }
  void* object_ = nullptr;
  pid_t (*call_)() = nullptr;
};

TEST_F(ImportsTest, OnlyThatObjectsCallsGoElsewhere) {
  const std::string before = permissions();
  ASSERT_THAT(before, HasSubstr("r--p rw-p"));  // the table, too, is read only
  ASSERT_EQ(call_(), ::getppid());
  const Import import{"getppid", reinterpret_cast<void*>(ours)};
  const auto done = redirect_imports("libdpdk_test_caller.so", {&import, 1});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(call_(), 4711);
  EXPECT_NE(::getppid(), 4711);
  EXPECT_EQ(permissions(), before);
}

TEST_F(ImportsTest, AllOrNone) {
  const Import imports[] = {{"getppid", reinterpret_cast<void*>(ours)},
                            {"getpgrp", reinterpret_cast<void*>(ours)}};
  const auto done = redirect_imports("libdpdk_test_caller.so", imports);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Status::kUnsupported);
  EXPECT_THAT(done.error().message, HasSubstr("does not call getpgrp"));
  EXPECT_EQ(call_(), ::getppid());
}

TEST_F(ImportsTest, AnObjectThatIsNotThereIsNamed) {
  const Import import{"getppid", reinterpret_cast<void*>(ours)};
  const auto done = redirect_imports("librte_net_nonsense.so", {&import, 1});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Status::kNotFound);
  EXPECT_EQ(done.error().message, "librte_net_nonsense.so is not loaded");
}

}  // namespace
}  // namespace loom::dpdk
