// Dates of HTTP (RFC 9110 section 5.6.7), in seconds since 1970. Pure; no locale, no time zone.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace loom::http {

// "Sun, 06 Nov 1994 08:49:37 GMT"; without allocation in the first form.
struct DateText {
  std::array<char, 64> text;
  uint32_t size = 0;
  std::string_view view() const noexcept { return {text.data(), size}; }
};
DateText date_text(int64_t seconds) noexcept;
std::string format_date(int64_t seconds);
// That, and the two obsolete forms; nothing when it is none.
std::optional<int64_t> parse_date(std::string_view text) noexcept;

}  // namespace loom::http
