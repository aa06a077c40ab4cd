// What is kept of files, and what is never opened.
#include "cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "test_root.h"

namespace loom::http {
namespace {

class HttpCache : public testing::Test {
 protected:
  std::unique_ptr<Cache> cache(uint64_t limit) {
    return std::make_unique<Cache>(std::move(*open_root(root.path)), limit, 0,
                                   [this](const FilePtr& f) { forgotten.push_back(f->path); });
  }
  static std::string text(const FilePtr& f) {
    return {reinterpret_cast<const char*>(f->data.get()), f->size()};
  }
  TestRoot root;
  std::vector<std::string> forgotten;
};

TEST_F(HttpCache, KeepsAFileUntilItChanges) {
  root.write("a", "first");
  const auto c = cache(1 << 20);
  const Found first = c->find("a");
  ASSERT_TRUE(first.file && first.is_kept);
  EXPECT_EQ(text(first.file), "first");
  EXPECT_EQ(c->find("a").file, first.file);
  root.write("a", "second");
  const Found second = c->find("a");
  EXPECT_EQ(text(second.file), "second");
  EXPECT_EQ(text(first.file), "first");  // whoever still sends it
  EXPECT_NE(second.file->etag, first.file->etag);
  EXPECT_EQ(forgotten, std::vector<std::string>{"a"});
  std::filesystem::remove(root.path / "a");
  EXPECT_EQ(c->find("a").refusal, 404);
  EXPECT_EQ(c->files().size(), 0u);
}

TEST_F(HttpCache, OpensNothingOutsideTheRoot) {
  TestRoot outside;
  outside.write("secret", "x");
  root.write("in", "in");
  root.write("sub/index.html", "index");
  std::filesystem::create_symlink(outside.path / "secret", root.path / "out");
  std::filesystem::create_symlink("../" + outside.path.filename().string() + "/secret",
                                  root.path / "up");
  std::filesystem::create_directory_symlink(outside.path, root.path / "outdir");
  std::filesystem::create_symlink("in", root.path / "alias");
  std::filesystem::create_symlink("loop", root.path / "loop");
  ASSERT_EQ(::mkfifo((root.path / "pipe").c_str(), 0600), 0);
  std::filesystem::create_directories(root.path / "odd/index.html");
  const auto c = cache(1 << 20);
  EXPECT_EQ(c->find("out").refusal, 403);
  EXPECT_EQ(c->find("up").refusal, 403);
  EXPECT_EQ(c->find("outdir/secret").refusal, 403);
  EXPECT_EQ(c->find("../" + outside.path.filename().string() + "/secret").refusal, 403);
  EXPECT_EQ(c->find("loop").refusal, 404);
  EXPECT_EQ(c->find("pipe").refusal, 403);
  EXPECT_EQ(c->find("nothing").refusal, 404);
  EXPECT_EQ(c->find("in/").refusal, 404);
  EXPECT_EQ(c->find("odd/").refusal, 404);
  EXPECT_EQ(c->find("").refusal, 404);
  EXPECT_EQ(c->find("sub").refusal, 301);
  EXPECT_EQ(text(c->find("sub/").file), "index");
  EXPECT_EQ(text(c->find("alias").file), "in");
}

TEST_F(HttpCache, NeverCostsMoreThanItsLimit) {
  const std::string big(10'000, 'x');
  for (const char* name : {"a", "b", "c", "d"}) root.write(name, big);
  const auto c = cache(3 * (big.size() + kFileCost));
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(c->find(name).is_kept);
  c->files().front()->was_used = true;
  EXPECT_TRUE(c->find("d").is_kept);
  EXPECT_EQ(forgotten, std::vector<std::string>{"b"});  // not the first: it was used
  EXPECT_LE(c->memory(), c->limit());
  // Files that are still being sent keep their memory: what finds no room is not kept.
  std::vector<FilePtr> sent;
  for (const auto& f : c->files()) sent.push_back(f);
  const Found found = c->find("b");
  ASSERT_TRUE(found.file);
  EXPECT_FALSE(found.is_kept);
  EXPECT_FALSE(found.file->is_in_memory());
  EXPECT_LE(c->memory(), c->limit());
  std::array<std::byte, 4> bytes;
  EXPECT_TRUE(found.file->read(9'996, bytes));
  EXPECT_FALSE(found.file->read(9'997, bytes));
  sent.clear();
  EXPECT_TRUE(c->find("b").is_kept);
}

TEST_F(HttpCache, LargeFilesStayOnDisk) {
  root.write("large", std::string(kMostWhole + 1, 'x'));
  root.write("small", "x");
  const auto c = cache(10 << 20);
  const Found found = c->find("large");
  ASSERT_TRUE(found.file && found.is_kept);
  EXPECT_FALSE(found.file->is_in_memory());
  EXPECT_EQ(c->memory(), kOpenFileCost);
  std::array<std::byte, 4> bytes;
  EXPECT_TRUE(found.file->read(0, bytes));
  root.write("large", std::string(kMostWhole + 2, 'y'));
  EXPECT_FALSE(found.file->read(0, bytes));  // not the file that was promised
  EXPECT_FALSE(cache(0)->find("small").is_kept);
}

TEST_F(HttpCache, OpenFilesThatAreNotKeptHaveABound) {
  root.write("a", "x");
  const auto c = cache(0);
  std::vector<FilePtr> open;
  for (uint64_t i = 0; i < kMostLoose; ++i) open.push_back(c->find("a").file);
  EXPECT_NE(open.back(), nullptr);
  EXPECT_EQ(c->find("a").refusal, 503);
  open.pop_back();
  EXPECT_NE(c->find("a").file, nullptr);
}

TEST_F(HttpCache, NeedsAFolder) {
  EXPECT_FALSE(open_root((root.path / "nothing").string()));
  root.write("file", "x");
  EXPECT_FALSE(open_root((root.path / "file").string()));
}

}  // namespace
}  // namespace loom::http
