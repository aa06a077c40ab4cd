#include "conditions.h"

#include <algorithm>
#include <optional>

#include "date.h"

namespace loom::http {
namespace {

// A list of entity tags has that one, or is `*`. Weak comparison takes W/"x" for "x".
bool matches(std::string_view list, std::string_view etag, bool weakly) noexcept {
  if (list == "*") return true;
  while (!list.empty()) {
    const bool is_weak = list.starts_with("W/");
    if (is_weak) list.remove_prefix(2);
    if (list.starts_with('"')) {
      const auto end = list.find('"', 1);
      if (end == list.npos) return false;
      if (list.substr(0, end + 1) == etag && (weakly || !is_weak)) return true;
      list.remove_prefix(end + 1);
    } else {
      list.remove_prefix(1);  // white space and commas, or no tag at all
    }
  }
  return false;
}

std::optional<uint64_t> number(std::string_view text) noexcept {
  if (text.empty() || text.size() > 18) return {};
  uint64_t n = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return {};
    n = n * 10 + static_cast<uint64_t>(c - '0');
  }
  return n;
}

// One range of bytes. What is no such range, and several of them, are as if nothing was asked.
Selection select_range(std::string_view range, uint64_t size) noexcept {
  const Selection all{.end = size};
  constexpr std::string_view kUnit = "bytes=";
  if (range.size() < kUnit.size() || (range[0] | 0x20) != 'b' || range.substr(1, 5) != "ytes=")
    return all;
  range.remove_prefix(kUnit.size());
  const auto dash = range.find('-');
  if (dash == range.npos) return all;
  const auto first = number(range.substr(0, dash)), last = number(range.substr(dash + 1));
  const bool has_first = dash != 0, has_last = dash + 1 != range.size();
  if ((has_first && !first) || (has_last && !last) || (!has_first && !has_last)) return all;
  if (has_first && has_last && *last < *first) return all;
  if (!has_first) {  // the last so many
    if (*last == 0 || size == 0) return {.status = 416};
    return {.status = 206, .begin = size - std::min(*last, size), .end = size};
  }
  if (*first >= size) return {.status = 416};
  return {.status = 206, .begin = *first, .end = has_last ? std::min(*last + 1, size) : size};
}

}  // namespace

Selection select(const Request& r, const Representation& file) noexcept {  // section 13.2.2
  if (!r.if_match.empty()) {
    if (!matches(r.if_match, file.etag, false)) return {.status = 412};
  } else if (!r.if_unmodified_since.empty()) {
    const auto date = parse_date(r.if_unmodified_since);
    if (date && file.modified > *date) return {.status = 412};
  }
  if (!r.if_none_match.empty()) {
    if (matches(r.if_none_match, file.etag, true)) return {.status = 304};
  } else if (!r.if_modified_since.empty()) {
    const auto date = parse_date(r.if_modified_since);
    if (date && file.modified <= *date) return {.status = 304};
  }
  const Selection all{.end = file.size};
  if (r.range.empty() || r.method != Method::kGet) return all;
  if (!r.if_range.empty()) {
    const bool is_tag = r.if_range.starts_with('"') || r.if_range.starts_with("W/");
    const bool is_same =
        is_tag ? r.if_range == file.etag : parse_date(r.if_range) == std::optional(file.modified);
    if (!is_same) return all;
  }
  return select_range(r.range, file.size);
}

}  // namespace loom::http
