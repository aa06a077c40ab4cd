#include "date.h"

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace loom::http {
namespace {

constexpr const char* kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                 "Thursday", "Friday", "Saturday"};
constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// Takes a text from the left; once something does not fit, all that follows fails.
struct Reader {
  std::string_view left;
  bool ok = true;

  void literal(std::string_view what) noexcept {
    ok = ok && left.substr(0, what.size()) == what;
    if (ok) left.remove_prefix(what.size());
  }
  int number(std::size_t digits) noexcept {
    int n = 0;
    ok = ok && left.size() >= digits;
    for (std::size_t i = 0; ok && i < digits; ++i) {
      ok = left[i] >= '0' && left[i] <= '9';
      n = n * 10 + (left[i] - '0');
    }
    if (ok) left.remove_prefix(digits);
    return ok ? n : 0;
  }
  int month() noexcept {
    for (int m = 0; ok && m < 12; ++m)
      if (left.substr(0, 3) == kMonths[m]) {
        left.remove_prefix(3);
        return m;
      }
    ok = false;
    return 0;
  }
  void time(std::tm& t) noexcept {
    t.tm_hour = number(2);
    literal(":");
    t.tm_min = number(2);
    literal(":");
    t.tm_sec = number(2);
  }
};

bool take_day(Reader& r, bool is_long) noexcept {
  for (const std::string_view day : kDays) {
    const auto name = is_long ? day : day.substr(0, 3);
    if (r.left.substr(0, name.size()) != name) continue;
    r.left.remove_prefix(name.size());
    return true;
  }
  return false;
}

}  // namespace

DateText date_text(int64_t seconds) noexcept {
  DateText out;
  const std::time_t s = static_cast<std::time_t>(seconds);
  std::tm t{};
  if (!gmtime_r(&s, &t)) return out;
  const int n = std::snprintf(out.text.data(), out.text.size(),
                              "%.3s, %02d %s %04d %02d:%02d:%02d GMT", kDays[t.tm_wday], t.tm_mday,
                              kMonths[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
  out.size = static_cast<uint32_t>(std::clamp<int>(n, 0, static_cast<int>(out.text.size()) - 1));
  return out;
}

std::string format_date(int64_t seconds) { return std::string(date_text(seconds).view()); }

std::optional<int64_t> parse_date(std::string_view text) noexcept {
  Reader r{text};
  std::tm t{};
  const auto comma = text.find(',');
  if (!take_day(r, comma != text.npos && comma > 3)) return {};
  if (comma == 3) {  // IMF-fixdate
    r.literal(", ");
    t.tm_mday = r.number(2);
    r.literal(" ");
    t.tm_mon = r.month();
    r.literal(" ");
    t.tm_year = r.number(4) - 1900;
    r.literal(" ");
    r.time(t);
    r.literal(" GMT");
  } else if (comma != text.npos) {  // RFC 850
    r.literal(", ");
    t.tm_mday = r.number(2);
    r.literal("-");
    t.tm_mon = r.month();
    r.literal("-");
    t.tm_year = r.number(2);
    if (t.tm_year < 70) t.tm_year += 100;
    r.literal(" ");
    r.time(t);
    r.literal(" GMT");
  } else {  // asctime: "Sun Nov  6 08:49:37 1994"
    r.literal(" ");
    t.tm_mon = r.month();
    r.literal(" ");
    if (r.left.starts_with(' ')) {
      r.literal(" ");
      t.tm_mday = r.number(1);
    } else {
      t.tm_mday = r.number(2);
    }
    r.literal(" ");
    r.time(t);
    r.literal(" ");
    t.tm_year = r.number(4) - 1900;
  }
  if (!r.ok || !r.left.empty() || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_hour > 23 ||
      t.tm_min > 59 || t.tm_sec > 60)
    return {};
  return static_cast<int64_t>(timegm(&t));
}

}  // namespace loom::http
