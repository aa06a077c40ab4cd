// From a request's target to the name of a file below the root. Pure, without allocation.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace loom::http {

constexpr uint32_t kMostPath = 4095;  // bytes, as PATH_MAX without its zero

// Decoded and without `.`, `..` and empty segments: "a/b", "a/" for a directory, "" for the root.
// Never begins with a slash, and no segment leads upwards.
struct Path {
  std::array<char, kMostPath + 1> text;
  uint32_t size = 0;
  std::string_view view() const noexcept { return {text.data(), size}; }
};

// 0, or the status of a refusal: 400 (not a path, leads above the root), 404 (too long for a file).
// Takes the origin form and the absolute form (RFC 9112 section 3.2); the query is dropped.
uint16_t parse_target(std::string_view target, Path& out) noexcept;

}  // namespace loom::http
