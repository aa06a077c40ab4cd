#include "target.h"

namespace loom::http {
namespace {

constexpr uint16_t kBadRequest = 400, kNotFound = 404;

int hex(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "http://host/path" to "/path". The host is not looked at: there is one site on a server.
std::string_view without_authority(std::string_view target) noexcept {
  const auto colon = target.find("://");
  if (colon == target.npos || colon > 5) return {};
  std::string_view scheme = target.substr(0, colon);
  const auto is = [&](std::string_view what) {
    if (scheme.size() != what.size()) return false;
    for (std::size_t i = 0; i < what.size(); ++i)
      if ((scheme[i] | 0x20) != what[i]) return false;
    return true;
  };
  if (!is("http") && !is("https")) return {};
  const auto rest = target.substr(colon + 3);
  const auto path = rest.find_first_of("/?");
  if (path == 0 || rest.empty()) return {};
  if (path == rest.npos || rest[path] == '?') return "/";
  return rest.substr(path);
}

// Ends the segment that begins at `begin`: drops it when it is empty or `.`, and with `..` the one
// before it. False: that one is above the root.
bool end_segment(Path& p, uint32_t& begin) noexcept {
  const auto segment = p.view().substr(begin);
  if (segment == "..") {
    if (begin == 0) return false;
    const auto before = p.view().substr(0, begin - 1).rfind('/');
    begin = before == std::string_view::npos ? 0 : static_cast<uint32_t>(before) + 1;
    p.size = begin;
  } else if (segment == "." || segment.empty()) {
    p.size = begin;
  } else {
    p.text[p.size++] = '/';
    begin = p.size;
  }
  return true;
}

}  // namespace

uint16_t parse_target(std::string_view target, Path& out) noexcept {
  out.size = 0;
  if (target.empty() || target[0] != '/') target = without_authority(target);
  if (target.empty() || target.find('#') != target.npos) return kBadRequest;
  target = target.substr(1, target.find('?') - (target.find('?') == target.npos ? 0 : 1));
  uint32_t begin = 0;  // of the last segment
  for (std::size_t i = 0; i < target.size(); ++i) {
    char c = target[i];
    if (c == '%') {
      if (target.size() - i < 3) return kBadRequest;
      const int high = hex(target[i + 1]), low = hex(target[i + 2]);
      if (high < 0 || low < 0) return kBadRequest;
      c = static_cast<char>(high * 16 + low);
      if (c == '\0' || c == '/') return kBadRequest;  // no name of a file has these
      i += 2;
    } else if (c == '/') {
      if (!end_segment(out, begin)) return kBadRequest;
      continue;
    }
    if (out.size + 2 > kMostPath) return kNotFound;
    out.text[out.size++] = c;
  }
  const auto last = out.view().substr(begin);
  if (last == "." || last == "..") return end_segment(out, begin) ? 0 : kBadRequest;
  return 0;
}

}  // namespace loom::http
