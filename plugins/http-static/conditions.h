// What the conditions and the range of a request come to, for a file of that size, date and tag:
// RFC 9110 sections 13 and 14. Pure.
#pragma once
#include <cstdint>
#include <string_view>

#include "request.h"

namespace loom::http {

struct Representation {
  uint64_t size = 0;
  int64_t modified = 0;   // seconds since 1970
  std::string_view etag;  // strong, with its quotes
};

struct Selection {
  uint16_t status = 200;        // 200, 206, 304, 412 or 416
  uint64_t begin = 0, end = 0;  // bytes of the file, for 200 and 206
};

Selection select(const Request& request, const Representation& file) noexcept;

}  // namespace loom::http
