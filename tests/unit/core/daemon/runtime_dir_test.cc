#include "daemon/runtime_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace loom {
namespace {

struct RuntimeDirTest : testing::Test {
  void SetUp() override {
    char name[] = "/tmp/hostloom-run-XXXXXX";
    top = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(top); }
  std::string top;
};

TEST_F(RuntimeDirTest, IsMadeWithItsParents) {
  const auto dir = RuntimeDir::open(top + "/a/b/c", {});
  ASSERT_TRUE(dir) << dir.error().message;
  struct stat s {};
  ASSERT_EQ(::stat((top + "/a/b/c").c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0022, 0u);
}

TEST_F(RuntimeDirTest, ASecondOneIsRefusedAndNamesTheProcess) {
  {
    const auto first = RuntimeDir::open(top, {});
    ASSERT_TRUE(first);
    const auto second = RuntimeDir::open(top, {});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Status::kInUse);
    EXPECT_EQ(second.error().message,
              "runtime directory " + top + " is in use by process " + std::to_string(::getpid()));
  }
  EXPECT_TRUE(RuntimeDir::open(top, {}));  // the lock went with its holder
}

TEST_F(RuntimeDirTest, SomethingThatIsNoDirectoryIsRefused) {
  std::ofstream(top + "/file") << "x";
  EXPECT_EQ(RuntimeDir::open(top + "/file", {}).error().code, Status::kExists);
  std::filesystem::create_directory(top + "/real");
  std::filesystem::create_symlink(top + "/real", top + "/link");
  EXPECT_EQ(RuntimeDir::open(top + "/link", {}).error().code, Status::kExists);
}

TEST_F(RuntimeDirTest, ThePidFileIsRemovedAtTheEnd) {
  const std::string path = top + "/pid";
  {
    const auto pidfile = PidFile::write(path);
    ASSERT_TRUE(pidfile);
    long pid = 0;
    std::ifstream(path) >> pid;
    EXPECT_EQ(pid, ::getpid());
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(PidFile::write(top + "/none/pid"));
}

}  // namespace
}  // namespace loom
