#include "units.h"

#include <charconv>
#include <cmath>
#include <span>

#include <hostloom/types.h>

namespace loom::nsim {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr Unit kTimes[] = {{"us", 1e3},   {"usec", 1e3}, {"ms", 1e6},
                           {"msec", 1e6}, {"s", 1e9},    {"sec", 1e9}};
constexpr Unit kRates[] = {{"bps", 1},     {"kbps", 1e3}, {"mbps", 1e6}, {"gbps", 1e9},
                           {"kbit", 1e3},  {"mbit", 1e6}, {"gbit", 1e9}, {"kbyte", 8e3},
                           {"mbyte", 8e6}, {"gbyte", 8e9}};

const Unit* find(std::span<const Unit> units, std::string_view name) {
  for (const Unit& u : units)
    if (u.name == name) return &u;
  return nullptr;
}

// The word that `at` stands at is not what is wanted there.
Error refuse(const CliArgs& at, std::string_view wanted) {
  Error e = at.unknown();
  e.message += ": " + std::string(wanted) + " is wanted there";
  return e;
}

// A number of at least 0, and its unit in the same word or in the next. Without one: `bare`, or a
// refusal when that is 0.
Result<double> take(CliArgs& args, std::span<const Unit> units, double bare,
                    std::string_view wanted) {
  const CliArgs at = args;
  const std::string_view word = args.next();
  double value = 0;
  const char* const word_end = word.data() + word.size();
  const auto [end, failed] =
      std::from_chars(word.data(), word_end, value, std::chars_format::fixed);
  if (failed != std::errc{} || !std::isfinite(value) || std::signbit(value))
    return refuse(at, wanted);
  const std::string_view suffix(end, static_cast<std::size_t>(word_end - end));
  const Unit* unit = find(units, suffix.empty() ? args.peek() : suffix);
  if (unit && suffix.empty()) args.next();
  if (!unit && (!suffix.empty() || bare == 0)) return refuse(at, wanted);
  return value * (unit ? unit->factor : bare);
}

// So that what does not fit an integer is refused as too much, and not undefined.
constexpr double kMost = 1e18;

}  // namespace

Result<TimeNs> take_delay(CliArgs& args) {
  const auto ns = take(args, kTimes, 0, "a time like 20 ms (us, ms, s)");
  if (!ns) return ns.error();
  return static_cast<TimeNs>(std::llround(std::min(*ns, kMost)));
}

Result<uint64_t> take_bandwidth(CliArgs& args) {
  const auto bits =
      take(args, kRates, 1, "a rate like 10 gbit (kbit, mbit, gbit, kbyte, mbyte, gbyte)");
  if (!bits) return bits.error();
  return static_cast<uint64_t>(std::llround(std::min(*bits, kMost)));
}

Result<double> take_fraction(CliArgs& args) {
  constexpr std::string_view kWanted = "a number from 0 to 1";
  const CliArgs at = args;
  const auto value = take(args, {}, 1, kWanted);
  if (value && *value > 1) return refuse(at, kWanted);
  return value;
}

}  // namespace loom::nsim
