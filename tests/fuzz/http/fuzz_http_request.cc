// Fuzz target: requests of HTTP, from bytes to the name of a file and what of it is sent.
//   input   what a client sends
// Beside crashes and sanitizer reports these are findings: an answer that changes when more bytes
// come, a head beyond its bounds, a path that leads upwards, a range outside the file.
#include <cstdlib>
#include <string>

#include "conditions.h"
#include "fuzz.h"
#include "request.h"
#include "target.h"

using namespace loom::http;

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void check_path(std::string_view path) {
  check(path.size() <= kMostPath && !path.starts_with('/') && path.find('\0') == path.npos);
  while (!path.empty()) {
    const auto end = std::min(path.find('/'), path.size());
    const auto segment = path.substr(0, end);
    check(!segment.empty() && segment != "." && segment != "..");
    path.remove_prefix(std::min(end + 1, path.size()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Request request;
  const Parsed whole = parse_request(bytes, request);
  check(whole.size <= std::min<std::size_t>(size, kMostHead));
  check(whole.size == 0 || whole.refusal == 0);
  check(size < kMostHead || whole.size != 0 || whole.refusal != 0);
  for (std::size_t n = 0; n < size; n += 1 + size / 64) {
    Request other;
    const Parsed p = parse_request(bytes.substr(0, n), other);
    if (p.size != 0 || p.refusal != 0) check(p.size == whole.size && p.refusal == whole.refusal);
  }
  if (whole.size == 0) return 0;
  Path path;
  if (parse_target(request.target, path) == 0) check_path(path.view());
  const Representation file{.size = 1000, .modified = 784111777, .etag = "\"x\""};
  const Selection s = select(request, file);
  check(s.begin <= s.end && s.end <= file.size);
  check(s.status != 206 || s.begin < s.end);
  return 0;
}

void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  constexpr std::string_view kRequests[] = {
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      "HEAD /a/../b/%2e%2e/./c%20?q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
      "\r\nGET http://host:80/a//b HTTP/1.1\r\nHost: host:80\r\nRange: bytes=10-20\r\nIf-Range: "
      "\"x\"\r\n\r\n",
      "GET /a HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"y\", W/\"x\"\r\nIf-Match: *\r\n\r\n",
      "GET /a HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nRange: "
      "bytes=-5\r\n\r\n",
      "GET /a HTTP/1.1\r\nHost: x\r\nIf-Unmodified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\nRange: "
      "bytes=5-\r\n\r\n",
      "GET /a HTTP/1.1\r\nHost: x\r\nIf-Range: Sun Nov  6 08:49:37 1994\r\nRange: "
      "bytes=0-0\r\n\r\n",
      "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
      "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
      "BREW / HTTP/2.0\r\n\r\n",
  };
  for (const auto text : kRequests) give(text);
  give("GET /" + std::string(kMostLine, '/') + " HTTP/1.1\r\n");
  give("GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(kMostHead, 'b') + "\r\n\r\n");
}
