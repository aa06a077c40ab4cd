#include "request.h"

#include <algorithm>
#include <array>

namespace loom::http {
namespace {

constexpr uint16_t kBadRequest = 400, kUriTooLong = 414, kExpectationFailed = 417,
                   kFieldsTooLarge = 431, kNotImplemented = 501, kVersion = 505;

// tchar of RFC 9110 section 5.6.2.
constexpr std::array<bool, 256> kToken = [] {
  std::array<bool, 256> is{};
  for (int c = '0'; c <= '9'; ++c) is[static_cast<std::size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) is[static_cast<std::size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) is[static_cast<std::size_t>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) is[static_cast<unsigned char>(c)] = true;
  return is;
}();

bool is_token(std::string_view s) noexcept {
  return !s.empty() &&
         std::all_of(s.begin(), s.end(), [](char c) { return kToken[static_cast<uint8_t>(c)]; });
}

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same(std::string_view a, std::string_view lower_case) noexcept {
  return a.size() == lower_case.size() && std::equal(a.begin(), a.end(), lower_case.begin(),
                                                     [](char x, char y) { return lower(x) == y; });
}

std::string_view trimmed(std::string_view s) noexcept {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}

// A comma separated list has the element.
bool lists(std::string_view list, std::string_view element) noexcept {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (same(trimmed(list.substr(0, comma)), element)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

uint16_t parse_request_line(std::string_view line, Request& out) noexcept {
  const auto first = line.find(' ');
  if (first == line.npos) return kBadRequest;
  const auto second = line.find(' ', first + 1);
  if (second == line.npos) return kBadRequest;
  const auto method = line.substr(0, first);
  out.target = line.substr(first + 1, second - first - 1);
  const auto version = line.substr(second + 1);
  if (!is_token(method) || out.target.empty()) return kBadRequest;
  for (const char c : out.target)
    if (c <= ' ' || c == 0x7f) return kBadRequest;  // chars are signed: also what is not ASCII
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !is_digit(version[5]) ||
      version[6] != '.' || !is_digit(version[7]))
    return kBadRequest;
  if (version[5] != '1') return kVersion;
  out.minor = version[7] == '0' ? 0 : 1;
  out.keep_alive = out.minor != 0;
  if (method == "GET") {
    out.method = Method::kGet;
  } else if (method == "HEAD") {
    out.method = Method::kHead;
  } else {
    constexpr std::string_view kKnown[] = {"POST",    "PUT",   "DELETE", "CONNECT",
                                           "OPTIONS", "TRACE", "PATCH"};
    if (std::find(std::begin(kKnown), std::end(kKnown), method) == std::end(kKnown))
      return kNotImplemented;
    out.method = Method::kOther;
  }
  return 0;
}

struct Framing {
  bool has_host = false, has_length = false, has_coding = false, is_closing = false;
};

uint16_t take_length(std::string_view value, Request& out, Framing& f) noexcept {
  if (f.has_length || value.empty() || value.size() > 18) return kBadRequest;
  for (const char c : value) {
    if (c < '0' || c > '9') return kBadRequest;
    out.content_length = out.content_length * 10 + static_cast<uint64_t>(c - '0');
  }
  f.has_length = true;
  out.has_body = out.content_length != 0;
  return 0;
}

uint16_t take_field(std::string_view line, Request& out, Framing& f) noexcept {
  const auto colon = line.find(':');
  if (colon == line.npos) return kBadRequest;
  const auto name = line.substr(0, colon);
  const auto value = trimmed(line.substr(colon + 1));
  if (!is_token(name)) return kBadRequest;  // also a folded line, and white space before the colon
  for (const char c : value)
    if ((static_cast<uint8_t>(c) < ' ' && c != '\t') || c == 0x7f) return kBadRequest;
  switch (name.size()) {  // most fields are none of ours
    case 4:
      if (!same(name, "host")) break;
      if (f.has_host) return kBadRequest;
      if (value.find_first_of(" \t,/?#@\\") != value.npos) return kBadRequest;
      f.has_host = true;
      break;
    case 5:
      if (same(name, "range")) out.range = value;
      break;
    case 6:
      if (!same(name, "expect")) break;
      if (!same(value, "100-continue")) return kExpectationFailed;
      out.expects_continue = out.minor != 0;
      break;
    case 8:
      if (same(name, "if-match")) out.if_match = value;
      if (same(name, "if-range")) out.if_range = value;
      break;
    case 10:
      if (!same(name, "connection")) break;
      if (lists(value, "close")) f.is_closing = true;
      if (lists(value, "keep-alive")) out.says_keep_alive = true;
      break;
    case 13:
      if (same(name, "if-none-match")) out.if_none_match = value;
      break;
    case 14:
      if (same(name, "content-length")) return take_length(value, out, f);
      break;
    case 17:
      if (same(name, "if-modified-since")) out.if_modified_since = value;
      if (same(name, "transfer-encoding")) f.has_coding = true;
      break;
    case 19:
      if (same(name, "if-unmodified-since")) out.if_unmodified_since = value;
      break;
    default:
      break;
  }
  return 0;
}

// What the fields say together.
uint16_t conclude(Request& out, const Framing& f) noexcept {
  if (out.minor != 0 && !f.has_host) return kBadRequest;  // RFC 9112 section 3.2
  if (f.has_coding) {
    if (f.has_length || out.minor == 0) return kBadRequest;  // section 6.1
    return kNotImplemented;
  }
  if (out.minor == 0) out.keep_alive = out.says_keep_alive;
  if (f.is_closing) out.keep_alive = false;
  return 0;
}

}  // namespace

Parsed parse_request(std::string_view bytes, Request& out) noexcept {
  out = {};
  Framing framing;
  const auto all = bytes.substr(0, kMostHead);
  std::size_t at = 0;
  for (uint32_t n = 0; all.substr(at, 2) == "\r\n"; ++n, at += 2)
    if (n == kMostEmptyLines) return {.refusal = kBadRequest};
  bool is_first = true;
  uint32_t n_fields = 0;
  for (;;) {
    const auto rest = all.substr(at);
    const auto end = rest.find_first_of("\r\n");
    if (is_first && std::min(end, rest.size()) > kMostLine) return {.refusal = kUriTooLong};
    if (end == rest.npos || (rest[end] == '\r' && end + 1 == rest.size())) {
      if (bytes.size() >= kMostHead) return {.refusal = kFieldsTooLarge};
      return {};
    }
    if (rest[end] != '\r' || rest[end + 1] != '\n') return {.refusal = kBadRequest};
    at += end + 2;
    const auto line = rest.substr(0, end);
    uint16_t refusal = 0;
    if (is_first) {
      refusal = parse_request_line(line, out);
      is_first = false;
    } else if (line.empty()) {
      refusal = conclude(out, framing);
      if (refusal == 0) return {.size = static_cast<uint32_t>(at)};
    } else if (++n_fields > kMostFields) {
      refusal = kFieldsTooLarge;
    } else {
      refusal = take_field(line, out, framing);
    }
    if (refusal != 0) return {.refusal = refusal};
  }
}

}  // namespace loom::http
