// Targets become names below the root, and never others.
#include "target.h"

#include <gtest/gtest.h>

#include <string>

namespace loom::http {
namespace {

// The path, or the status of the refusal as "!400".
std::string path(std::string_view target) {
  Path p;
  const uint16_t refusal = parse_target(target, p);
  return refusal ? "!" + std::to_string(refusal) : std::string(p.view());
}

TEST(HttpTarget, BecomesAPath) {
  EXPECT_EQ(path("/"), "");
  EXPECT_EQ(path("/a"), "a");
  EXPECT_EQ(path("/a/"), "a/");
  EXPECT_EQ(path("//a///b"), "a/b");
  EXPECT_EQ(path("/a/./b/."), "a/b/");
  EXPECT_EQ(path("/a/../b"), "b");
  EXPECT_EQ(path("/a/b/.."), "a/");
  EXPECT_EQ(path("/a/.."), "");
  EXPECT_EQ(path("/a/b/c/../../d"), "a/d");
  EXPECT_EQ(path("/..."), "...");
  EXPECT_EQ(path("/.a/..b"), ".a/..b");
  EXPECT_EQ(path("/a%20b%C3%a4"), "a b\xc3\xa4");
  EXPECT_EQ(path("/a?b=/../../c"), "a");
  EXPECT_EQ(path("/?"), "");
  EXPECT_EQ(path("/a+b"), "a+b");
}

TEST(HttpTarget, TakesTheAbsoluteForm) {
  EXPECT_EQ(path("http://host/a/b"), "a/b");
  EXPECT_EQ(path("HTTPS://host:80/a?x"), "a");
  EXPECT_EQ(path("http://host"), "");
  EXPECT_EQ(path("http://host?x/y"), "");
  EXPECT_EQ(path("http:///a"), "!400");
  EXPECT_EQ(path("http://"), "!400");
  EXPECT_EQ(path("ftp://host/a"), "!400");
}

TEST(HttpTarget, NeverLeadsAboveTheRoot) {
  for (const char* target : {"/..", "/../a", "/a/../..", "/a/../../b", "/%2e%2e/a", "/.%2E",
                             "/a/%2e./..", "//..", "/./.."})
    EXPECT_EQ(path(target), "!400") << target;
  // All short targets of the characters that matter.
  constexpr std::string_view kBytes = "/.a?%2";
  for (uint32_t n = 0; n < 6 * 6 * 6 * 6 * 6 * 6; ++n) {
    std::string target = "/";
    for (uint32_t i = 0, left = n; i < 6; ++i, left /= 6) target += kBytes[left % 6];
    const std::string p = path(target);
    if (p[0] == '!') continue;
    ASSERT_FALSE(p.starts_with('/')) << target;
    for (std::size_t at = 0; at < p.size();) {
      const auto end = std::min(p.find('/', at), p.size());
      const auto segment = p.substr(at, end - at);
      ASSERT_TRUE(segment != "" && segment != "." && segment != "..") << target << " is " << p;
      at = end + 1;
    }
  }
}

TEST(HttpTarget, RefusesWhatIsNone) {
  for (const char* target :
       {"", "a", "*", "/%", "/%1", "/%1g", "/%00", "/a%2fb", "/a#b", "host:80"})
    EXPECT_EQ(path(target), "!400") << target;
}

TEST(HttpTarget, HasABound) {
  EXPECT_EQ(path("/" + std::string(kMostPath - 1, 'a')).size(), kMostPath - 1);
  EXPECT_EQ(path("/" + std::string(kMostPath - 1, 'a') + "/").size(), kMostPath);
  EXPECT_EQ(path("/" + std::string(kMostPath, 'a')), "!404");
  EXPECT_EQ(path("/" + std::string(kMostPath - 1, 'a') + "/b"), "!404");
}

}  // namespace
}  // namespace loom::http
