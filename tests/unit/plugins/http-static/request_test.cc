// Heads of requests, each given in every prefix: the answer comes once it is certain, and stays.
#include "request.h"

#include <gtest/gtest.h>

#include <string>

namespace loom::http {
namespace {

// 0: a request, of all the bytes.
struct Case {
  std::string text;
  int refusal;
};

std::string get(const std::string& fields) {
  return "GET / HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}

Parsed parse(const std::string& text, Request& out) {
  // A copy of its own size, so that a sanitizer sees a byte too far.
  const std::string copy(text.data(), text.size());
  Parsed p = parse_request(copy, out);
  out.target = {};
  return p;
}

TEST(HttpRequest, EveryPrefixGetsTheSameAnswerOrNone) {
  const std::vector<Case> cases = {
      {get(""), 0},
      {"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 0},
      {"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"HEAD /a%20b?c=d HTTP/1.1\r\nHost:x:80\r\nX-Y:\t z \r\n\r\n", 0},
      {"GET / HTTP/1.0\r\n\r\n", 0},
      {"GET / HTTP/1.9\r\nHost: [::1]:80\r\n\r\n", 0},
      {"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 0},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 0},
      {get("Expect: 100-Continue\r\n"), 0},
      {get("Host:\r\n"), 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},  // no Host
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", 400},
      {get("Content-Length: 1\r\nContent-Length: 1\r\n"), 400},
      {get("Content-Length: 1, 1\r\n"), 400},
      {get("Content-Length: +1\r\n"), 400},
      {get("Content-Length: 9999999999999999999\r\n"), 400},
      {get("Content-Length:\r\n"), 400},
      {get("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400},
      {get("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), 400},
      {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {get("Transfer-Encoding: chunked\r\n"), 501},
      {get("Expect: tea\r\n"), 417},
      {get("A : b\r\n"), 400},
      {get(": b\r\n"), 400},
      {get("A: b\r\n c\r\n"), 400},  // a folded line
      {get("A\r\n"), 400},
      {get(std::string("A: b\0c\r\n", 8)), 400},
      {get("A: b\rc\r\n"), 400},
      {"GET / HTTP/1.1\nHost: x\n\n", 400},
      {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400},
      {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
      {"GET /\r\n\r\n", 400},
      {"GET /\tb HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"get / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
      {"GET / http/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET / HTTP/1.11\r\nHost: x\r\n\r\n", 400},
      {"GET /" + std::string(kMostLine, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
      {get("A: " + std::string(kMostHead, 'a') + "\r\n"), 431},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 80));
    bool is_decided = false;
    for (std::size_t n = 0; n <= c.text.size();
         n += c.text.size() > 2000 && n < c.text.size() - 9 ? 7 : 1) {
      Request r;
      const Parsed p = parse(c.text.substr(0, n), r);
      if (p.refusal != 0 || p.size != 0) is_decided = true;
      if (!is_decided) continue;
      ASSERT_EQ(p.refusal, c.refusal) << n;
      ASSERT_EQ(p.size, c.refusal == 0 ? c.text.size() : 0u) << n;
    }
    EXPECT_TRUE(is_decided);
  }
}

TEST(HttpRequest, WhatFollowsIsLeftAlone) {
  Request r;
  const std::string one = get("");
  EXPECT_EQ(parse_request(one + "GET /second", r).size, one.size());
  EXPECT_EQ(parse_request(one + std::string(2 * kMostHead, 'x'), r).size, one.size());
}

TEST(HttpRequest, AHeadHasABound) {
  Request r;
  std::string many = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (uint32_t i = 1; i < kMostFields; ++i) many += "A: b\r\n";
  EXPECT_EQ(parse_request(many + "\r\n", r).refusal, 0);
  EXPECT_EQ(parse_request(many + "A: b\r\n\r\n", r).refusal, 431);
  std::string line = "GET /" + std::string(kMostLine - 14, 'a') + " HTTP/1.1\r\n";
  EXPECT_EQ(parse_request(line + "Host: x\r\n\r\n", r).refusal, 0);
  std::string exact = get("A: ");
  exact = "GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(kMostHead - 33, 'a') + "\r\n\r\n";
  ASSERT_EQ(exact.size(), kMostHead - 1);
  EXPECT_EQ(parse_request(exact, r).size, exact.size());
}

TEST(HttpRequest, FieldsAreUnderstood) {
  Request r;
  const std::string text =
      "GET /a HTTP/1.1\r\nhOsT: x\r\nConnection: foo ,\tClose\r\nIf-None-Match: \"a\"\r\n"
      "If-Modified-Since: then\r\nRange: bytes=0-1\r\nIf-Range: \"b\"\r\nIf-Match: *\r\n"
      "If-Unmodified-Since: now\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n";
  ASSERT_EQ(parse_request(text, r).size, text.size());
  EXPECT_EQ(r.method, Method::kGet);
  EXPECT_EQ(r.target, "/a");
  EXPECT_FALSE(r.keep_alive);
  EXPECT_EQ(r.if_none_match, "\"a\"");
  EXPECT_EQ(r.if_modified_since, "then");
  EXPECT_EQ(r.if_unmodified_since, "now");
  EXPECT_EQ(r.if_match, "*");
  EXPECT_EQ(r.range, "bytes=0-1");
  EXPECT_EQ(r.if_range, "\"b\"");
  EXPECT_EQ(r.content_length, 12u);
  EXPECT_TRUE(r.has_body && r.expects_continue);

  const auto keeps = [](const char* start, const char* fields) {
    Request q;
    EXPECT_NE(parse_request(std::string(start) + "\r\nHost: x\r\n" + fields + "\r\n", q).size, 0u);
    return q.keep_alive;
  };
  EXPECT_TRUE(keeps("GET / HTTP/1.1", ""));
  EXPECT_FALSE(keeps("GET / HTTP/1.1", "Connection: keep-alive, close\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0", ""));
  EXPECT_TRUE(keeps("GET / HTTP/1.0", "Connection: Keep-Alive\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0", "Connection: keep-alive\r\nConnection: close\r\n"));
}

}  // namespace
}  // namespace loom::http
