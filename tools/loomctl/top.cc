#include "top.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "top_sample.h"
#include "top_sessions.h"

namespace loomctl {
namespace {

using loom::Result;
using loom::StatsReader;
using loom::Status;

constexpr int kOk = 0, kFailed = 1, kUsage = 2, kNoDaemon = 3;
constexpr auto kLook = std::chrono::milliseconds(20);    // shared memory cannot tell of its change
constexpr auto kCheck = std::chrono::milliseconds(500);  // is the daemon still there?

// Waits until the daemon has brought its statistics up to date again, `interval` or more after the
// reading before; then, and every now and then, maps the segment anew: a daemon that went away is
// noticed, and one that took its place is read.
class Source {
 public:
  explicit Source(std::string socket) : socket_(std::move(socket)) {}

  Result<TopSample> first() {
    if (auto ok = connect(); !ok) return ok.error();
    return sample();
  }

  Result<TopSample> next(std::chrono::duration<double> interval) {
    const auto until = Clock::now() + interval;
    for (;;) {
      std::this_thread::sleep_for(kLook);
      if (Clock::now() - connected_ > kCheck)
        if (auto ok = connect(); !ok) return ok.error();
      const auto beat = reader_->heartbeat();
      if (!beat) return beat.error();
      if (Clock::now() >= until && *beat != updates_) return sample();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  Result<void> connect() {
    auto reader = StatsReader::connect(socket_);
    if (!reader) return reader.error();
    reader_ = std::move(*reader);
    connected_ = Clock::now();
    return {};
  }

  Result<TopSample> sample() {
    auto values = reader_->dump(top_filter());
    if (!values) return values.error();
    TopSample s = top_sample(*values);
    if (s.time_ns == 0)
      return loom::error(Status::kUnsupported,
                         socket_ + ": statistics without /sys/last_update_ns");
    updates_ = s.updates;
    return s;
  }

  std::string socket_;
  std::optional<StatsReader> reader_;
  Clock::time_point connected_;
  uint64_t updates_ = 0;
};

std::string human(double v) {
  const char* unit = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (v < 1000) break;
    v /= 1000;
    unit = next;
  }
  char text[32];
  const bool is_whole = *unit == '\0' && v == std::floor(v);
  std::snprintf(text, sizeof text, "%.*f%s", is_whole ? 0 : 2, v, unit);
  return text;
}

std::string hex(uint64_t v) {  // as `show session` writes handles
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(v));
  return text;
}

// The table of sessions, or why there is none.
struct SessionTable {
  std::vector<SessionRate> rates;
  std::string missing;
};

// Two listings make a table.
class SessionWatch {
 public:
  SessionWatch(std::string api_socket, std::size_t most)
      : source_(std::move(api_socket)), most_(most) {}

  SessionTable next(const TopSample& sample) {
    SessionTable table;
    const auto total = sample.gauges.find("session/sessions_total");
    if (total != sample.gauges.end() && total->second > most_) {
      before_.reset();
      table.missing =
          std::to_string(total->second) + " sessions; --max-sessions is " + std::to_string(most_);
      return table;
    }
    auto now = source_.sample();
    if (!now) {
      before_.reset();
      table.missing = now.error().message;
      return table;
    }
    if (before_)
      table.rates = session_rates(*before_, *now);
    else
      table.missing = "rates take two listings";
    before_ = std::move(*now);
    return table;
  }

 private:
  SessionSource source_;
  std::size_t most_;
  std::optional<SessionsSample> before_;
};

std::string text_of(const TopView& v, const SessionTable& sessions, std::size_t rows) {
  std::string out;
  char line[256];
  const auto add = [&](const char* format, auto... args) {
    std::snprintf(line, sizeof line, format, args...);
    out += line;
  };
  add("over %.2f s\n\n", v.seconds);
  add("%-8s %12s %8s %8s %10s\n", "worker", "rounds/s", "busy %", "asleep %", "sessions");
  for (std::size_t w = 0; w < v.workers.size(); ++w) {
    const auto& x = v.workers[w];
    add("%-8zu %12s %8.1f %8.1f %10llu\n", w, human(x.rounds_s).c_str(), x.busy_percent,
        x.asleep_percent, static_cast<unsigned long long>(x.sessions));
  }
  add("\n%-24s %12s %12s %12s %12s\n", "node", "clocks/pkt", "pkts/s", "calls/s", "pkts/call");
  for (std::size_t i = 0; i < std::min(rows, v.nodes.size()); ++i) {
    const auto& n = v.nodes[i];
    add("%-24s %12.1f %12s %12s %12.1f\n", n.name.c_str(), n.clocks_per_packet,
        human(n.packets_s).c_str(), human(n.calls_s).c_str(), n.packets_per_call);
  }
  add("\n%-24s %12s %12s %12s %12s %10s\n", "interface", "rx bit/s", "rx pkts/s", "tx bit/s",
      "tx pkts/s", "drops/s");
  for (std::size_t i = 0; i < std::min(rows, v.interfaces.size()); ++i) {
    const auto& f = v.interfaces[i];
    add("%-24s %12s %12s %12s %12s %10s\n", f.name.c_str(), human(f.rx_bits_s).c_str(),
        human(f.rx_packets_s).c_str(), human(f.tx_bits_s).c_str(), human(f.tx_packets_s).c_str(),
        human(f.drops_s).c_str());
  }
  add("\n%-5s %-24s %-24s %-18s %12s %12s\n", "", "session's local end", "remote end",
      "application", "rx bit/s", "tx bit/s");
  if (!sessions.missing.empty()) add("not listed: %s\n", sessions.missing.c_str());
  for (std::size_t i = 0; i < std::min(rows, sessions.rates.size()); ++i) {
    const auto& r = sessions.rates[i];
    add("%-5s %-24s %-24s %-18.18s %12s %12s\n", r.session.transport.c_str(),
        r.session.local.c_str(), r.session.remote.c_str(), r.session.app.c_str(),
        human(r.rx_bits_s).c_str(), human(r.tx_bits_s).c_str());
  }
  add("\n%-40s %12s\n", "now", "");
  for (const auto& [name, value] : v.gauges)
    add("%-40s %12llu\n", name.c_str(), static_cast<unsigned long long>(value));
  if (!v.rates.empty()) add("\n%-40s %12s\n", "events", "per second");
  for (std::size_t i = 0; i < std::min(rows, v.rates.size()); ++i)
    add("%-40s %12s\n", v.rates[i].name.c_str(), human(v.rates[i].per_s).c_str());
  return out;
}

std::string json_of(const TopView& v, const SessionTable& sessions) {
  using nlohmann::json;
  json j{{"seconds", v.seconds},        {"workers", json::array()}, {"nodes", json::array()},
         {"interfaces", json::array()}, {"now", v.gauges},          {"events", json::object()}};
  for (const auto& w : v.workers)
    j["workers"].push_back({{"rounds-per-second", w.rounds_s},
                            {"busy-percent", w.busy_percent},
                            {"asleep-percent", w.asleep_percent},
                            {"sessions", w.sessions}});
  for (const auto& n : v.nodes)
    j["nodes"].push_back({{"node", n.name},
                          {"clocks-per-packet", n.clocks_per_packet},
                          {"packets-per-second", n.packets_s},
                          {"calls-per-second", n.calls_s},
                          {"packets-per-call", n.packets_per_call}});
  for (const auto& f : v.interfaces)
    j["interfaces"].push_back({{"interface", f.name},
                               {"rx-bits-per-second", f.rx_bits_s},
                               {"rx-packets-per-second", f.rx_packets_s},
                               {"tx-bits-per-second", f.tx_bits_s},
                               {"tx-packets-per-second", f.tx_packets_s},
                               {"drops-per-second", f.drops_s}});
  j["sessions"] = json::array();
  for (const auto& r : sessions.rates)
    j["sessions"].push_back({{"handle", hex(r.handle)},
                             {"transport", r.session.transport},
                             {"local", r.session.local},
                             {"remote", r.session.remote},
                             {"application", r.session.app},
                             {"rx-bits-per-second", r.rx_bits_s},
                             {"tx-bits-per-second", r.tx_bits_s}});
  if (!sessions.missing.empty()) j["sessions-not-listed"] = sessions.missing;
  for (const auto& r : v.rates) j["events"][r.name] = r.per_s;
  return j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string socket_beside(const std::string& api_socket) {
  const std::size_t slash = api_socket.rfind('/');
  return slash == api_socket.npos ? "stats.sock" : api_socket.substr(0, slash + 1) + "stats.sock";
}

// Lines that the terminal has beyond the fixed ones, shared by the four tables.
std::size_t rows_that_fit() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 50) return 8;
  return (size.ws_row - 18u) / 4;
}

}  // namespace

int top(std::vector<std::string> words, const std::string& api_socket, bool json) {
  CLI::App app(
      "Nodes by clocks per packet, interfaces by rate, sessions by throughput and workers' load; "
      "until interrupted.",
      "loomctl top");
  std::string socket = socket_beside(api_socket);
  double interval = 1;
  std::size_t rows = 0, max_sessions = 10'000;
  bool once = false;
  app.add_flag("--once", once, "one view of the next interval, then end");
  app.add_option("--interval", interval,
                 "seconds of a view, at least; the daemon's update-interval bounds it below")
      ->capture_default_str()
      ->check(CLI::Range(0.02, 3600.0));
  app.add_option("--rows", rows, "rows of a table; 0 = what fits on the terminal, or all");
  app.add_option("--max-sessions", max_sessions,
                 "sessions are not listed one by one when there are more; 0: never")
      ->capture_default_str();
  app.add_option("--stats-socket", socket, "statistics socket of the daemon")
      ->capture_default_str();
  try {
    std::reverse(words.begin(), words.end());  // CLI11 takes a vector from its end
    app.parse(words);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kOk : kUsage;
  }

  const bool on_terminal = ::isatty(STDOUT_FILENO) && !once && !json;
  Source source(socket);
  SessionWatch sessions(api_socket, max_sessions);
  std::optional<TopSample> before;
  for (;;) {
    const auto now = before ? source.next(std::chrono::duration<double>(interval)) : source.first();
    if (!now) {
      std::fprintf(stderr, "loomctl: %s\n", now.error().message.c_str());
      return now.error().code == Status::kNotConnected ? kNoDaemon : kFailed;
    }
    const SessionTable table = max_sessions == 0 ? SessionTable{} : sessions.next(*now);
    // A daemon that was started meanwhile counts from 0.
    if (before && now->updates > before->updates) {
      const TopView view = top_view(*before, *now);
      const std::size_t most = rows != 0 ? rows : on_terminal ? rows_that_fit() : ~std::size_t{0};
      if (on_terminal) std::fputs("\033[H\033[J", stdout);
      std::fputs((json ? json_of(view, table) : text_of(view, table, most)).c_str(), stdout);
      if (std::fflush(stdout) != 0) return kFailed;  // nobody reads any more
      if (once) return kOk;
    }
    before = *now;
  }
}

}  // namespace loomctl
