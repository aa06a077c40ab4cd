// Dates, conditions, ranges and types.
#include "conditions.h"

#include <gtest/gtest.h>

#include "date.h"
#include "media_type.h"

namespace loom::http {
namespace {

constexpr int64_t kThen = 784111777;  // the date of RFC 9110 section 5.6.7's examples
const Representation kFile{.size = 100, .modified = kThen, .etag = "\"x\""};

Request request() {
  Request r;
  r.method = Method::kGet;
  return r;
}

TEST(HttpDate, ComesInThreeForms) {
  EXPECT_EQ(format_date(kThen), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), kThen);
  EXPECT_EQ(parse_date("Sunday, 06-Nov-94 08:49:37 GMT"), kThen);
  EXPECT_EQ(parse_date("Sun Nov  6 08:49:37 1994"), kThen);
  EXPECT_EQ(parse_date(format_date(0)), 0);
  for (const char* text : {"", "Sun", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 GMT ",
                           "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT",
                           "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
                           "Xxx, 06 Nov 1994 08:49:37 GMT", "784111777"})
    EXPECT_FALSE(parse_date(text)) << text;
}

TEST(HttpConditions, TellWhetherAnythingIsSent) {
  Request r = request();
  r.if_none_match = "\"x\"";
  EXPECT_EQ(select(r, kFile).status, 304);
  r.if_none_match = "\"y\", W/\"x\"";
  EXPECT_EQ(select(r, kFile).status, 304);
  r.if_none_match = "*";
  EXPECT_EQ(select(r, kFile).status, 304);
  r.if_none_match = "\"y\"";
  r.if_modified_since = "Sun, 06 Nov 1994 08:49:37 GMT";
  EXPECT_EQ(select(r, kFile).status, 200);  // the date is not looked at beside a tag
  r.if_none_match = "";
  EXPECT_EQ(select(r, kFile).status, 304);
  r.if_modified_since = "Sun, 06 Nov 1994 08:49:36 GMT";
  EXPECT_EQ(select(r, kFile).status, 200);
  r.if_modified_since = "yesterday";
  EXPECT_EQ(select(r, kFile).status, 200);

  r = request();
  r.if_match = "W/\"x\"";
  EXPECT_EQ(select(r, kFile).status, 412);  // strong comparison
  r.if_match = "\"y\", \"x\"";
  EXPECT_EQ(select(r, kFile).status, 200);
  r.if_match = "";
  r.if_unmodified_since = "Sun, 06 Nov 1994 08:49:36 GMT";
  EXPECT_EQ(select(r, kFile).status, 412);
  r.if_unmodified_since = "Sun, 06 Nov 1994 08:49:37 GMT";
  EXPECT_EQ(select(r, kFile).status, 200);
}

TEST(HttpRange, SelectsBytes) {
  struct {
    const char* range;
    uint16_t status;
    uint64_t begin, end;
  } const cases[] = {
      {"bytes=0-0", 206, 0, 1},       {"bytes=10-19", 206, 10, 20},
      {"bytes=10-", 206, 10, 100},    {"bytes=99-500", 206, 99, 100},
      {"bytes=-10", 206, 90, 100},    {"bytes=-500", 206, 0, 100},
      {"Bytes=1-1", 206, 1, 2},       {"bytes=100-", 416, 0, 0},
      {"bytes=-0", 416, 0, 0},        {"bytes=2-1", 200, 0, 100},
      {"bytes=-", 200, 0, 100},       {"bytes=a-b", 200, 0, 100},
      {"bytes=0-1,3-4", 200, 0, 100}, {"lines=0-1", 200, 0, 100},
      {"bytes=", 200, 0, 100},        {"bytes=9999999999999999999-", 200, 0, 100},
  };
  for (const auto& c : cases) {
    Request r = request();
    r.range = c.range;
    const Selection s = select(r, kFile);
    EXPECT_EQ(s.status, c.status) << c.range;
    EXPECT_EQ(s.begin, c.begin) << c.range;
    EXPECT_EQ(s.end, c.end) << c.range;
  }
  Request r = request();
  r.range = "bytes=-1";
  EXPECT_EQ(select(r, {.etag = "\"e\""}).status, 416);  // an empty file
  r.if_range = "\"y\"";
  EXPECT_EQ(select(r, kFile).status, 200);
  r.if_range = "\"x\"";
  EXPECT_EQ(select(r, kFile).status, 206);
  r.if_range = "Sun, 06 Nov 1994 08:49:37 GMT";
  EXPECT_EQ(select(r, kFile).status, 206);
  r.if_range = "nonsense";
  EXPECT_EQ(select(r, kFile).status, 200);
  r.if_range = "";
  r.method = Method::kHead;
  EXPECT_EQ(select(r, kFile).status, 200);
}

TEST(HttpMediaType, ComesFromTheSuffix) {
  EXPECT_STREQ(media_type("a/b.HTML"), "text/html; charset=utf-8");
  EXPECT_STREQ(media_type("x.tar.gz"), "application/gzip");
  EXPECT_STREQ(media_type("a.png/b"), "application/octet-stream");
  EXPECT_STREQ(media_type(".png"), "application/octet-stream");
  EXPECT_STREQ(media_type("x."), "application/octet-stream");
}

}  // namespace
}  // namespace loom::http
