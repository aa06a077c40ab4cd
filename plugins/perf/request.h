// How a client tells a perf server that a stream is one of requests, each to be answered: by the
// stream's first bytes. Behind them requests follow without anything between, and the server sends
// a response for each, bytes of the pattern from kMarkSize on (pattern.h).
//
//    0               16              20              24
//    | kRequestMark  | request bytes | response bytes| first request ...      big-endian, 1 to 2^30
#pragma once
#include <array>
#include <cstring>
#include <span>

#include <hostloom/wire.h>

#include "options.h"
#include "pattern.h"

namespace loom::perf {

constexpr char kRequestMark[kMarkSize + 1] = "hostloom-perf-rq";

struct RequestHeader {
  char mark[kMarkSize];
  Be32 request, response;

  bool is_valid() const noexcept {
    const auto is_size = [](uint32_t n) { return n != 0 && n <= kMostMessage; };
    return std::memcmp(mark, kRequestMark, kMarkSize) == 0 && is_size(request) && is_size(response);
  }
};
static_assert(sizeof(RequestHeader) == 24);

inline RequestHeader request_header(uint32_t request, uint32_t response) noexcept {
  RequestHeader h{};
  std::memcpy(h.mark, kRequestMark, kMarkSize);
  h.request = request;
  h.response = response;
  return h;
}

}  // namespace loom::perf
