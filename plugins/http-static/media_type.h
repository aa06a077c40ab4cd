// Content-Type by a file's suffix.
#pragma once
#include <string_view>

namespace loom::http {

// "application/octet-stream" when the suffix is not known.
const char* media_type(std::string_view path) noexcept;

}  // namespace loom::http
