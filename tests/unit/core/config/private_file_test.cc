#include "config/private_file.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace loom {
namespace {

namespace fs = std::filesystem;

struct PrivateFile : testing::Test {
  PrivateFile() {
    char name[] = "/tmp/hostloom-private-XXXXXX";
    dir = ::mkdtemp(name);
    path = dir + "/file";
  }
  ~PrivateFile() override { fs::remove_all(dir); }
  uint32_t mode() const {
    struct stat s {};
    EXPECT_EQ(::stat(path.c_str(), &s), 0);
    return s.st_mode & 0777;
  }
  void expect_refused(const char* why) {
    const auto fd = open_private_file(path);
    ASSERT_FALSE(fd);
    EXPECT_THAT(fd.error().message, testing::HasSubstr(path + ": "));
    EXPECT_THAT(fd.error().message, testing::HasSubstr(why));
  }
  std::string dir, path;
};

TEST_F(PrivateFile, IsForItsOwnerOnlyWhateverItWasBefore) {
  auto fd = open_private_file(path);
  ASSERT_TRUE(fd) << fd.error().message;
  ::close(*fd);
  EXPECT_EQ(mode(), 0600u);
  std::ofstream(path) << "old";
  ::chmod(path.c_str(), 0644);
  fd = open_private_file(path);
  ASSERT_TRUE(fd);
  ::close(*fd);
  EXPECT_EQ(mode(), 0600u);
  EXPECT_EQ(fs::file_size(path), 0u);
}

TEST_F(PrivateFile, IsNotWhatSomebodyElseHasPutThere) {
  const std::string other = dir + "/other";
  std::ofstream(other) << "keep";
  fs::create_symlink(other, path);
  expect_refused("symbolic links");
  fs::remove(path);
  fs::create_hard_link(other, path);
  expect_refused("this user's alone");
  fs::remove(path);
  EXPECT_EQ(fs::file_size(other), 4u);
  ASSERT_EQ(::mkfifo(path.c_str(), 0666), 0);
  expect_refused("No such device");  // a pipe that nobody reads: it does not wait
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  expect_refused("this user's alone");
  ::close(reader);
  fs::remove(path);
  path = "/none/file";
  expect_refused("No such file");
}

}  // namespace
}  // namespace loom
